"""The machines of a project for its router: names, MAC addresses, IPv4 addresses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from builder.model.identity import Identity
from builder.model.settings import NodeSettings

Format = Literal["hosts", "dnsmasq", "json"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A Pi or a guest. `mac` is None if it is the address of the Pi's port, which is not known beforehand. `address` is
    None if DHCP gives it."""

    node: str
    kind: Literal["pi", "guest"]
    name: str
    full_name: str
    mac: str | None
    address: str | None


def machines_of(settings: NodeSettings, identity: Identity) -> Iterator[Machine]:
    """The Pi, and its guest if it has one. The guest has no address here: only cloud-init/ can give it a fixed one."""
    ipv4 = settings.bridge.ipv4
    address = None if ipv4 == "dhcp" else ipv4.address.partition("/")[0]
    hostname, guest = settings.hostname, settings.guest_hostname
    yield Machine(settings.name, "pi", hostname, f"{hostname}.{settings.domain}", identity.bridge_mac, address)
    if settings.guest != "none":
        yield Machine(settings.name, "guest", guest, f"{guest}.{settings.domain}", identity.guest_mac, None)


def hosts_text(machines: Sequence[Machine]) -> str:
    """Lines of hosts(5). A machine without a fixed address is a comment."""
    return _text(_hosts_line(machine) for machine in machines)


def dnsmasq_text(machines: Sequence[Machine]) -> str:
    """Lines for a file in /etc/dnsmasq.d (dnsmasq(8)). They give each DHCP client its name, and reserve the fixed
    addresses."""
    return _text(line for machine in machines for line in _dnsmasq_lines(machine))


def json_text(machines: Sequence[Machine]) -> str:
    return json.dumps([asdict(machine) for machine in machines], indent=2) + "\n"


TEXTS: dict[Format, Callable[[Sequence[Machine]], str]] = {
    "hosts": hosts_text,
    "dnsmasq": dnsmasq_text,
    "json": json_text,
}


def _hosts_line(machine: Machine) -> str:
    if machine.address is None:
        return f"# {machine.full_name} {machine.name}: by DHCP, {_called(machine)}"
    return f"{machine.address} {machine.full_name} {machine.name}"


def _dnsmasq_lines(machine: Machine) -> Iterator[str]:
    whose = "the Pi" if machine.kind == "pi" else f"the guest of {machine.node}"
    if machine.mac is None:
        yield f"# {machine.name}, {whose}: {_called(machine)}"
    else:
        yield f"# {machine.name}, {whose}"
        yield f"dhcp-host={','.join(filter(None, (machine.mac, machine.address, machine.name)))}"
    if machine.address is not None:  # it is no DHCP client, so no lease makes its name known
        yield f"host-record={machine.full_name},{machine.name},{machine.address}"


def _called(machine: Machine) -> str:
    return f"MAC address {machine.mac}" if machine.mac else "its MAC address is that of its port, which `ip link` shows"


def _text(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
