"""A benchmark, the same on the Pi and in its guest."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("bench", key="role")


FEATURE = Feature(name="bench", order=170, package=__name__, edits=edits)
