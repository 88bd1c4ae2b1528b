"""Image files: a golden one for each role, stamped for a node, written whole, sparse or compressed."""
