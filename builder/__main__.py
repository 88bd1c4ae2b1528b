"""`python -m builder`."""

from builder.cli import program

program()
