"""The project of a command."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli.group import command_words
from builder.project import Project


def open_project(ctx: click.Context, folder: Path) -> Project:
    """The project in a folder. No node of it may have the name of a command. Raises ConfigurationError."""
    return Project(folder, reserved_names=command_words(ctx))
