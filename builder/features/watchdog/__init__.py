"""The Pi's hardware watchdog, which systemd feeds: a Pi that hangs restarts by itself."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.watchdog.checks import checks
from builder.features.watchdog.settings import WatchdogKeys
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    if context.keys(WatchdogKeys).watchdog is not None:
        yield from context.overlay("watchdog", key="watchdog")


FEATURE = Feature(name="watchdog", order=250, package=__name__, edits=edits, settings=WatchdogKeys, checks=checks)
