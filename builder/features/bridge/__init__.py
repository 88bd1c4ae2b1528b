"""The bridge br0 over the wired port. The base's network manager makes it; all other managers are masked."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.bridge.checks import checks
from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit
from builder.model.identity import derived_uuid
from builder.model.plan import Note

_NETWORKD = {"systemd-networkd.service": "multi-user.target", "systemd-networkd.socket": "sockets.target"}
_UNITS = {
    "networkmanager": {"NetworkManager.service": "multi-user.target"},
    "networkd": _NETWORKD,
    "dhcpcd": {"dhcpcd.service": "multi-user.target", **_NETWORKD},
}


def edits(context: Context) -> Iterator[Edit | Note]:
    manager, settings = context.base.network, context.settings
    rivals = {unit for units in _UNITS.values() for unit in units} - set(_UNITS[manager])
    yield from context.mask(*sorted(rivals), key="base.network")
    for unit, target in _UNITS[manager].items():
        yield context.enable(unit, wanted_by=target, key="base.network")
    port = str(derived_uuid(settings.cluster, settings.role, "br0-port"))
    yield from context.overlay(f"bridge-{manager}", key="bridge.port", uuid=port)
    br0 = str(derived_uuid(settings.cluster, settings.name, "br0"))
    yield from context.overlay(f"bridge-{manager}-node", key="bridge", scope="node", uuid=br0)
    if manager == "dhcpcd":
        yield from context.overlay_blocks("bridge-dhcpcd-conf", key="bridge", scope="node")
    if manager == "networkd":
        yield Note(context.feature, "systemd-networkd leaves /etc/resolv.conf alone: it needs systemd-resolved")
    if context.identity.bridge_mac is None:
        yield from context.overlay("bridge-inherit", key="bridge.mac")
        if manager == "dhcpcd":
            yield from context.overlay("bridge-dhcpcd-inherit", key="bridge.mac")


FEATURE = Feature(name="bridge", order=90, package=__name__, edits=edits, checks=checks)
