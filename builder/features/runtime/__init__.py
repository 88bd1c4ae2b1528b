"""The programs that run on the Pi, and their settings: one file for the role, one for the node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.guest import accelerator, cpu_model
from builder.features.runtime.checks import checks
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    guest, machine = context.guest, context.settings.machine
    extra: dict[str, Any] = {}
    if guest is not None and machine is not None:
        extra = {"guest_accel": accelerator(context, machine), "guest_cpu": cpu_model(context, guest)}
    yield from context.overlay("runtime", key="role", **extra)
    yield from context.overlay("runtime-node", key="name", scope="node")


FEATURE = Feature(name="runtime", order=110, package=__name__, edits=edits, checks=checks)
