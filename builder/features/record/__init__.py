"""The record of the node that owns a disk, in a file on its boot volume. `flash` reads it before it overwrites the
disk; nothing on the Pi reads it."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("record", key="name", scope="node")


FEATURE = Feature(name="record", order=210, package=__name__, edits=edits)
