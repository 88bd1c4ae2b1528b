"""Services that are switched off: packages start them by default, and a node with one guest does not need them."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.packages.settings import PackagesKeys
from builder.model.edits import Edit

_MASKED = (
    # Without a cable they would delay every boot by a minute and then fail. None of our units waits for the network.
    "NetworkManager-wait-online.service",
    "systemd-networkd-wait-online.service",
)
_MASKED_WITH_LIBVIRT = (
    "libvirtd-tcp.socket",
    "libvirtd-tls.socket",
    # It asks libvirtd about guests at every boot and shutdown, and so starts libvirtd.
    "libvirt-guests.service",
)


def edits(context: Context) -> Iterator[Edit]:
    yield from context.mask(*_MASKED, key="role")
    yield from context.mask(*context.base.mask, key="base.mask")
    if context.keys(PackagesKeys).packages.get("libvirt-daemon-system"):
        yield from _without_libvirt_at_boot(context)
    if context.base.cloud_init:
        # cloud-init would set the hostname and the network again at every boot.
        yield context.write("/etc/cloud/cloud-init.disabled", "", key="base.cloud_init")


def _without_libvirt_at_boot(context: Context) -> Iterator[Edit]:
    """libvirtd and virtlogd start only when virsh connects to their local sockets. The network that would add virbr0
    does not start."""
    key = "packages.libvirt-daemon-system"
    yield from context.mask(*_MASKED_WITH_LIBVIRT, key=key)
    for unit in ("libvirtd.service", "virtlogd.service"):
        yield context.disable(unit, wanted_by="multi-user.target", key=key)
    yield context.remove("/etc/libvirt/qemu/networks/autostart/default.xml", key=key)


FEATURE = Feature(name="quiet", order=190, package=__name__, edits=edits)
