"""Image files: a golden image for each role, stamped for a node, and written as a sparse or compressed file."""
