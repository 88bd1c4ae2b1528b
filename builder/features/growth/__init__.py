"""The growth of the root filesystem to the size of the disk at boot. The base's own way is switched off: it also
changes the disk's id."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.features.growth.checks import checks
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


def edits(context: Context) -> Iterator[Wish]:
    growth = context.base.growth
    if words := _STOCK_WORDS[growth]:
        yield context.kernel_words(KernelWords(remove=words), key="base.growth", when="image")
    yield from context.mask(*_STOCK_UNITS[growth], key="base.growth")
    yield from context.overlay("growth", key="base.growth")


FEATURE = Feature(name="growth", order=120, package=__name__, edits=edits, checks=checks)
