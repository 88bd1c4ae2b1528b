"""The kernel's interface names. The wired port of a Pi is eth0; udev does not rename it."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.model.patches import KernelWords


def edits(context: Context) -> Iterator[Wish]:
    # Raspberry Pi OS does the same. The links also end udev's MACAddressPolicy=persistent, which invents MAC addresses
    # for bridges.
    for link in ("73-usb-net-by-mac.link", "99-default.link"):
        yield context.symlink(f"/etc/systemd/network/{link}", "/dev/null", key="bridge.port")
    if context.base.firmware == "static":
        # The base's initrd was made without those links, and its udev would rename eth0. Debian's hook adds this word.
        yield context.kernel_words(KernelWords(add=("net.ifnames=0",)), key="bridge.port", when="image")


FEATURE = Feature(name="interface-names", order=80, package=__name__, edits=edits)
