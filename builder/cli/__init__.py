"""The terminal: the only room that prints, and the only one that ends the process."""

from builder.cli.main import main

__all__ = ["main"]
