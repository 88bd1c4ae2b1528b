"""The checks of br0 on the booted node: it is up, has its address and its port, and libvirt has made no bridge."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, equal


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    port = want.settings.bridge.port
    yield equal("br0 state", facts["bridge-state"], "up")
    yield equal("br0 MAC", facts["bridge-mac"], want.identity.bridge_mac or want.port_mac)
    yield equal("br0 spanning tree", facts["bridge-stp"], "0")
    address = facts["bridge-address"]
    if want.address is None:
        yield CheckResult("br0 address", bool(address), address or "none", "one by DHCP")
    else:
        yield equal("br0 address", address, want.address.address)
    ports = facts["bridge-ports"].split()
    yield CheckResult("br0 port", port in ports, " ".join(ports) or "none", port)
    others = [name for name in facts["interfaces"].split() if name.startswith("virbr")]
    yield equal("bridges of libvirt", " ".join(others), "")
