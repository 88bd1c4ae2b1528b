"""The root filesystem grows to the disk at boot, by our unit alone: the base's own way also changes the disk's id."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.model.edits import Edit
from builder.model.patches import KernelWords

_STOCK_WORDS = {
    "none": (),
    "firstboot-init": ("init=/usr/lib/raspberrypi-sys-mods/firstboot", "init=/usr/lib/raspi-config/init_resize[.]sh"),
    "resize-word": ("resize",),
}
_STOCK_UNITS = {
    "none": (),
    "firstboot-init": ("resize2fs_once.service",),
    "resize-word": ("rpi-resize.service",),
}


def edits(context: Context) -> Iterator[Edit]:
    growth = context.base.growth
    if words := _STOCK_WORDS[growth]:
        yield context.patch("/cmdline.txt", KernelWords(remove=words), volume="boot", key="base.growth")
    yield from context.mask(*_STOCK_UNITS[growth], key="base.growth")
    yield from context.overlay("growth", key="base.growth")
