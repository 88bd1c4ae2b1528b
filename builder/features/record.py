"""Whose disk this is, for whoever is about to write another image onto it: `flash` reads it, nothing on the Pi does."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("record", key="name", scope="node")
