"""Automatic updates of the Pi: none, or security updates by unattended-upgrades. They never restart the Pi."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.updates.settings import UpdatesKeys
from builder.model.edits import Edit

PACKAGE = "unattended-upgrades"
_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")


def edits(context: Context) -> Iterator[Edit]:
    """Edits that mask apt's timers, or that set up unattended-upgrades and enable the timers.

    Raises ConfigurationError when the base names no origin of security updates.
    """
    if context.keys(UpdatesKeys).updates == "none":
        # A node changes when it is flashed, or when its owner upgrades it; not at a random hour under a running guest.
        yield from context.mask(*_TIMERS, key="updates")
        return
    if not context.base.security_origins:
        file = f"profiles/bases/{context.settings.base}.yaml"
        hint = f"add security_origins to {file}, or say updates: none"
        raise context.refuse(f"{file} names no archive of security updates", key="updates", hint=hint)
    yield from context.overlay("updates", key="updates")
    for timer in _TIMERS:
        yield context.enable(timer, wanted_by="timers.target", key="updates")


FEATURE = Feature(name="updates", order=200, package=__name__, edits=edits, settings=UpdatesKeys)
