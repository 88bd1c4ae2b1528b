"""The node's partition ids, in fstab and in the kernel's words."""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import ConfigurationError
from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.features.layout.checks import checks
from builder.model.patches import KernelWords

_CONSOLES = ("console=tty0", "console=ttyS1,115200")
"""A Pi 4's HDMI and its mini UART. The last one becomes /dev/console. Debian's raspi-firmware uses the same words."""


def edits(context: Context) -> Iterator[Wish]:
    yield from context.overlay("layout", key="name", scope="node")
    root = KernelWords(add=(f"root=PARTUUID={context.identity.partuuid}-02",), remove=("root=.*",))
    yield context.kernel_words(root, scope="node", key="name", when="image")
    _refuse_lost_words(context, root)
    # raspi-firmware's hook appends this after its own root=; the last one counts.
    yield context.kernel_words(root, scope="node", key="base.firmware", when="update")
    if context.base.firmware == "raspi-firmware":
        # The hook ran in a sandbox and took the machine for an older Pi. With that Pi's cma= a Pi 4 does not boot.
        words = KernelWords(add=_CONSOLES, remove=("cma=.*", "console=.*"))
        yield context.kernel_words(words, key="base.firmware", when="image")


def _refuse_lost_words(context: Context, root: KernelWords) -> None:
    """An older project may have own words in overlays/features/layout-raspi-firmware, which is read no longer. Raises
    ConfigurationError, or these words would be lost."""
    for file in context.overlays.get("features/layout-raspi-firmware", ()):
        if tuple(context.text(file).split()) != root.add:
            raise ConfigurationError(
                "is read no longer, and has words of its own",
                where=file.origin,
                hint="say them as `boot: {kernel_words: [WORD]}` in a role or node, and remove the folder",
            )


FEATURE = Feature(name="layout", order=10, package=__name__, edits=edits, checks=checks, lasting=("table",))
