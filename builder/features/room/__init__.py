"""The check that a guest's memory and disk fit the Pi and its SSD, if the profiles name these."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.room.settings import MEMORY, RoomKeys
from builder.features.swap.settings import SwapKeys
from builder.limits import GIB, MIB
from builder.model.plan import Note

_SYSTEM = 3 * GIB
"""Bytes of the SSD that the system itself takes, roughly."""
_LEAST_DISK = 4 * GIB
"""Bytes that a guest has written to its disk when it has joined its cluster."""
_PAGE_TABLE_SHARE = 64
"""Linux uses 64 bytes (struct page) to describe each page of 4096 bytes."""


def edits(context: Context) -> Iterator[Note]:
    if context.guest is None or context.settings.machine is None:
        return
    swap = _swap(context)
    yield from _disk(context, swap)
    yield from _memory(context, swap)


def _swap(context: Context) -> int:
    """Bytes of swap that the first boot makes. A small SSD gets less than `swap.size` (overlays/features/swap)."""
    swap, ssd = context.keys(SwapKeys).swap, context.keys(RoomKeys).ssd
    if swap is None:
        return 0
    if ssd is None:
        return swap.size
    volume = ssd - context.base.root.start
    share = swap.reserve
    reserve = share if isinstance(share, int) else volume * int(share.removesuffix("%")) // 100
    return max(0, min(swap.size, volume - _SYSTEM - reserve))


def _disk(context: Context, swap: int) -> Iterator[Note]:
    ssd, guest = context.keys(RoomKeys).ssd, context.guest
    assert guest is not None
    if ssd is None:
        return
    left = ssd - context.base.root.start - _SYSTEM - swap
    if left < _LEAST_DISK:
        raise context.refuse(
            f"an SSD of {_text(ssd)} has no room for the system, {_text(swap)} of swap and {_text(_LEAST_DISK)} of a "
            "guest",
            key="ssd",
            hint="take a larger SSD, or less swap",
        )
    if left < guest.disk:
        yield Note(
            context.feature,
            f"the guest's disk may grow to {_text(guest.disk)}, and beside system and swap the SSD has {_text(left)}: "
            "when that is full, the guest pauses until there is room again",
        )


def _memory(context: Context, swap: int) -> Iterator[Note]:
    """The same calculation as in overlays/features/guest, guest-run, which lowers a memory size that does not fit."""
    pi, machine = context.keys(RoomKeys).pi, context.settings.machine
    if pi is None or machine is None or machine.memory == "auto":
        return
    wanted, ram = machine.memory, MEMORY[pi]
    own = ram - min(max(ram // 4, 768 * MIB), 2048 * MIB)
    if wanted > own + swap:
        with_swap = f"{_text(swap)} of swap" if swap else "no swap"
        raise context.refuse(
            f"{_text(wanted)} for the guest are more than the {_text(own + swap)} of a {pi} with {with_swap}",
            key="machine.memory",
            hint=f"say memory: auto, or give it swap of {_text(wanted - own)}",
        )
    if wanted > own:
        yield Note(
            context.feature,
            f"the guest is told that it has {_text(wanted)}, and the {pi} has {_text(own)} for it: the rest is swap on "
            f"the SSD, far slower, and the guest cannot know which part. Its kernel writes "
            f"{_text(wanted // _PAGE_TABLE_SHARE)} of page descriptions as it starts, and what it caches of its disk "
            "goes to swap on the same SSD. memory: auto is faster for all that fits",
        )


def _text(size: int) -> str:
    return f"{size / GIB:.3g} GiB" if size >= GIB else f"{size // MIB} MiB"


FEATURE = Feature(name="room", order=160, package=__name__, edits=edits, settings=RoomKeys)
