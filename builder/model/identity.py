"""The identity of a node. It is derived from cluster name, node name and purpose, so that a rebuilt image is the same
machine."""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from dataclasses import dataclass

from builder.model.settings import NodeSettings

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pimu-build/identity")


def derived_uuid(cluster: str, subject: str, purpose: str) -> uuid.UUID:
    """A version 5 UUID of cluster, node or role (`subject`), and purpose (RFC 9562, section 5.5)."""
    return uuid.uuid5(_NAMESPACE, f"{cluster}/{subject}/{purpose}")


def derived_mac(cluster: str, node: str, purpose: str) -> str:
    """A MAC address in QEMU's range 52:54:00 (locally administered, unicast)."""
    tail = hashlib.sha256(f"{cluster}/{node}/{purpose}".encode()).digest()[:3]
    return "52:54:00:" + ":".join(f"{octet:02x}" for octet in tail)


def derived_disk_id(cluster: str, node: str) -> int:
    """A 32-bit MBR disk signature. It is never 0, because Linux then has no PARTUUID for the disk."""
    return int.from_bytes(derived_uuid(cluster, node, "disk").bytes[:4], "big") or 1


def link_local(mac: str) -> str:
    """The link-local IPv6 address that Linux derives from a MAC address (RFC 4291, appendix A)."""
    octets = [int(octet, 16) for octet in mac.split(":")]
    octets[0] ^= 2
    interface = bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))


@dataclass(frozen=True, slots=True)
class Identity:
    """`bridge_mac` is None when br0 inherits the address of its port."""

    disk_id: int
    bridge_mac: str | None
    guest_mac: str
    instance_id: str

    @property
    def partuuid(self) -> str:
        """The stem of PARTUUID=…-01 and …-02 for a dos label (libblkid: 8 hex digits)."""
        return f"{self.disk_id:08x}"


def identity_of(settings: NodeSettings) -> Identity:
    """The identity of a node. Values that its profiles do not give are derived from the names of cluster and node."""
    cluster, node, bridge_mac = settings.cluster, settings.name, settings.bridge.mac
    guest_mac = settings.machine.mac if settings.machine else "derived"
    if bridge_mac == "derived":
        bridge_mac = derived_mac(cluster, node, "bridge")
    if guest_mac == "derived":
        guest_mac = derived_mac(cluster, node, "guest")
    return Identity(
        disk_id=derived_disk_id(cluster, node),
        bridge_mac=None if bridge_mac == "inherit" else bridge_mac,
        guest_mac=guest_mac,
        instance_id=str(derived_uuid(cluster, node, "guest-instance")),
    )
