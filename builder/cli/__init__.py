"""The command line. Only this room prints, and only this room ends the process."""

from builder.cli.main import main, program

__all__ = ["main", "program"]
