"""The machine-id. The image has none: systemd makes one if the file is empty or says `uninitialized` (machine-id(5)).

With `uninitialized` systemd also applies presets, as at a first boot. Our preset file makes it enable nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.machine_id.checks import checks
from builder.model.edits import Edit

_CONTENT = {"empty": "", "uninitialized": "uninitialized\n"}


def edits(context: Context) -> Iterator[Edit]:
    yield context.write("/etc/machine-id", _CONTENT[context.base.machine_id], key="base.machine_id", mode=0o444)
    yield from context.overlay("machine-id", key="base.machine_id")
    yield context.symlink("/var/lib/dbus/machine-id", "/etc/machine-id", key="base.machine_id")


FEATURE = Feature(name="machine-id", order=70, package=__name__, edits=edits, checks=checks, lasting=("machine-id",))
