"""The node's partition ids in all that names a partition: fstab, the kernel's words, what Debian's hook reads."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.model.edits import Edit
from builder.model.patches import KernelWords

_CONSOLES = ("console=tty0", "console=ttyS1,115200")
"""A Pi 4's HDMI and, last and so /dev/console, its mini UART (Debian's raspi-firmware says the same)."""


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("layout", key="name", scope="node")
    root = KernelWords(add=(f"root=PARTUUID={context.identity.partuuid}-02",), remove=("root=.*",))
    yield context.patch("/cmdline.txt", root, volume="boot", scope="node", key="name")
    if context.base.firmware == "raspi-firmware":
        # Its hook ran in a sandbox, where it took the machine for an older Pi: with that cma= a Pi 4 does not boot.
        words = KernelWords(add=_CONSOLES, remove=("cma=.*", "console=.*"))
        yield context.patch("/cmdline.txt", words, volume="boot", key="base.firmware")
        # It writes cmdline.txt anew at every kernel update, with this file's words last; the last root= counts.
        yield from context.overlay("layout-raspi-firmware", key="base.firmware", scope="node")
