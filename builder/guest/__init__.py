"""The x86_64 guest: its disk, which all nodes share, and a node's seed, which tells it who it is."""
