"""The terminal: the only room that prints, and the only one that ends the process."""

from builder.cli.main import main, program

__all__ = ["main", "program"]
