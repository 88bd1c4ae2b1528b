"""Clock and voltage of a Pi 4. They apply to no other board: 2000 MHz would slow down a Pi 5."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.features.overclock.settings import OverclockKeys


def edits(context: Context) -> Iterator[Wish]:
    if context.keys(OverclockKeys).overclock is not None:
        lines = [line for file in context.files("overclock") for line in context.text(file).splitlines()]
        yield context.config_txt(lines, key="overclock")


FEATURE = Feature(name="overclock", order=100, package=__name__, edits=edits, settings=OverclockKeys)
