"""TRIM: the Pi tells the SSD about freed blocks. Settings name the calendar and the USB enclosures."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.trim.checks import checks
from builder.features.trim.settings import TrimKeys
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("trim", key="trim.calendar")
    yield context.enable("fstrim.timer", wanted_by="timers.target", key="trim.calendar")
    if context.keys(TrimKeys).trim.enclosures:
        yield from context.overlay("trim-enclosures", key="trim.enclosures")


FEATURE = Feature(name="trim", order=140, package=__name__, edits=edits, settings=TrimKeys, checks=checks)
