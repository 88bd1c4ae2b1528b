"""Writes the files that a node gets, for a reader or for another tool."""
