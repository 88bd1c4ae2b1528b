"""Open the project of a command."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli.group import command_words
from builder.project import Project


def open_project(ctx: click.Context, folder: Path) -> Project:
    """The project in a folder. Names of commands are reserved, and cannot be nodes. Raises ConfigurationError."""
    return Project(folder, reserved_names=command_words(ctx))
