"""One file per thing that is baked in. A feature reads settings and facts of the base, and yields edits; it decides,
and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from builder.features import (
    bench,
    bridge,
    growth,
    guest,
    host_keys,
    hostname,
    interface_names,
    k3s,
    layout,
    locale,
    machine_id,
    overclock,
    quiet,
    record,
    role,
    room,
    runtime,
    ssh,
    swap,
    trim,
    user,
)
from builder.features.context import Context
from builder.model.edits import Edit
from builder.model.plan import Note

Feature: TypeAlias = (
    Callable[[Context], Iterator[Edit | Note]]
    | Callable[[Context], Iterator[Edit]]
    | Callable[[Context], Iterator[Note]]
)

FEATURES: tuple[Feature, ...] = (
    layout.edits,
    hostname.edits,
    locale.edits,
    user.edits,
    ssh.edits,
    host_keys.edits,
    machine_id.edits,
    interface_names.edits,
    bridge.edits,
    overclock.edits,
    runtime.edits,
    growth.edits,
    swap.edits,
    trim.edits,
    guest.edits,
    room.edits,
    bench.edits,
    k3s.edits,
    quiet.edits,
    record.edits,
    role.edits,
)
"""In order: where two features patch one file, the earlier one goes first."""
