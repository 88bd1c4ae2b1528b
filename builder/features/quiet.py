"""What the packages would start by themselves, and a node that runs one guest does not want."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.model.edits import Edit

_MASKED = (
    # A pulled cable would cost every boot a minute and a failed unit; nothing of ours waits for the network.
    "NetworkManager-wait-online.service",
    "systemd-networkd-wait-online.service",
    # A node changes when it is flashed, or when its owner says so; not under a running guest at a random hour.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)
_MASKED_WITH_LIBVIRT = (
    "libvirtd-tcp.socket",
    "libvirtd-tls.socket",
    # Asks libvirtd about guests at every boot and shutdown, and so starts it.
    "libvirt-guests.service",
)


def edits(context: Context) -> Iterator[Edit]:
    yield from context.mask(*_MASKED, key="role")
    yield from context.mask(*context.base.mask, key="base.mask")
    if context.settings.packages.get("libvirt-daemon-system"):
        yield from _without_libvirt_at_boot(context)
    if context.base.cloud_init:
        # It would set the hostname and the network anew at every boot.
        yield context.write("/etc/cloud/cloud-init.disabled", "", key="base.cloud_init")


def _without_libvirt_at_boot(context: Context) -> Iterator[Edit]:
    """libvirtd and its log start when virsh calls on their local sockets, and then without the network that would add
    virbr0."""
    key = "packages.libvirt-daemon-system"
    yield from context.mask(*_MASKED_WITH_LIBVIRT, key=key)
    for unit in ("libvirtd.service", "virtlogd.service"):
        yield context.disable(unit, wanted_by="multi-user.target", key=key)
    yield context.remove("/etc/libvirt/qemu/networks/autostart/default.xml", key=key)
