"""Clock and voltage of a Pi 4, for no other board: 2000 MHz would slow a Pi 5 down."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    if context.settings.overclock is None:
        return
    yield from context.overlay_blocks("overclock", key="overclock")
    if context.base.firmware == "raspi-firmware":
        # Its hook writes config.txt anew at every kernel update and adds this file's text.
        (block,) = context.files("overclock")
        yield context.write("/etc/default/raspi-firmware-custom", context.text(block), key="overclock")
