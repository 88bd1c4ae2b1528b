"""br0 by each of the three network managers, with each way to an address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planned import BASES, Pi, pi_of, plan_of

STATIC = """
bridge:
  ipv4: {address: 192.168.1.13/24, gateway: 192.168.1.1, dns: [192.168.1.1, 9.9.9.9]}
"""
KEYFILES = "/etc/NetworkManager/system-connections"
MANAGERS = {
    "networkmanager": {"NetworkManager.service"},
    "dhcpcd": {"dhcpcd.service", "systemd-networkd.service", "systemd-networkd.socket"},
}


@pytest.mark.parametrize("base", BASES)
def test_one_manager_owns_the_port_and_the_others_cannot_start(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base)
    pi = pi_of(plan)

    known = set.union(*MANAGERS.values())
    assert {unit for unit in known if pi.is_enabled(unit)} == MANAGERS[plan.base.network]
    assert {unit for unit in known if pi.is_masked(unit)} == known - MANAGERS[plan.base.network]


@pytest.mark.parametrize("base", BASES)
def test_a_pulled_cable_delays_nothing(base: str, shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder, base=base))
    assert pi.is_masked("NetworkManager-wait-online.service")
    assert pi.is_masked("systemd-networkd-wait-online.service")


def test_networkmanager_bridge(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder)
    pi = pi_of(plan)
    bridge, port = pi.ini(f"{KEYFILES}/br0.nmconnection"), pi.ini(f"{KEYFILES}/br0-port.nmconnection")

    assert bridge["ethernet"]["cloned-mac-address"] == plan.identity.bridge_mac
    assert bridge["bridge"]["stp"] == "false"
    assert bridge["ipv4"]["method"] == "auto"
    assert dict(port["connection"]) | {"uuid": ""} == {
        "id": "br0-port",
        "uuid": "",
        "type": "ethernet",
        "interface-name": "eth0",
        "master": "br0",
        "slave-type": "bridge",
    }
    assert bridge["connection"]["uuid"] != port["connection"]["uuid"]
    assert pi.ini("/etc/NetworkManager/conf.d/10-pimu.conf")["main"]["no-auto-default"] == "*"


@pytest.mark.parametrize("name", ["br0", "br0-port"])
def test_networkmanager_ignores_keyfiles_that_others_can_read(name: str, shipped_folder: Path) -> None:
    entry = pi_of(plan_of(shipped_folder)).entry(f"{KEYFILES}/{name}.nmconnection")
    assert entry is not None
    assert (entry.mode, entry.uid, entry.gid) == (0o600, 0, 0)


def test_networkmanager_static_address(project_folder: Path) -> None:
    ipv4 = pi_of(plan_of(project_folder, node=STATIC)).ini(f"{KEYFILES}/br0.nmconnection")["ipv4"]
    assert dict(ipv4) == {
        "method": "manual",
        "address1": "192.168.1.13/24,192.168.1.1",
        "dns": "192.168.1.1;9.9.9.9;",
    }


def test_networkmanager_leaves_an_inherited_address_to_the_kernel(project_folder: Path) -> None:
    pi = pi_of(plan_of(project_folder, node="bridge: {mac: inherit}\n"))
    assert "ethernet" not in pi.ini(f"{KEYFILES}/br0.nmconnection")
    assert pi.ini("/etc/systemd/network/10-br0.link")["Link"]["MACAddressPolicy"] == "none"


def test_a_given_address_is_used(project_folder: Path) -> None:
    pi = pi_of(plan_of(project_folder, node='bridge: {mac: "52:54:00:AB:CD:EF"}\n'))
    assert pi.ini(f"{KEYFILES}/br0.nmconnection")["ethernet"]["cloned-mac-address"] == "52:54:00:ab:cd:ef"


def test_dhcpcd_addresses_the_bridge_that_networkd_makes(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base="raspios-bullseye")
    pi = pi_of(plan)

    assert pi.ini("/etc/systemd/network/10-br0.netdev")["NetDev"]["MACAddress"] == plan.identity.bridge_mac
    assert pi.ini("/etc/systemd/network/10-br0.netdev")["Bridge"]["STP"] == "no"
    assert pi.ini("/etc/systemd/network/20-br0-port.network")["Network"]["Bridge"] == "br0"
    conf = pi.text("/etc/dhcpcd.conf").splitlines()
    assert conf[:2] == ["hostname", "clientid"]
    deny, interface = (
        next(n for n, line in enumerate(conf) if line.startswith(word)) for word in ("deny", "interface")
    )
    assert "eth0" in conf[deny].split()
    assert deny < interface
    assert conf[interface] == "interface br0"


def test_dhcpcd_static_address(project_folder: Path) -> None:
    conf = pi_of(plan_of(project_folder, base="raspios-bullseye", node=STATIC)).text("/etc/dhcpcd.conf").splitlines()
    after = conf[conf.index("interface br0") + 1 :]
    assert "static ip_address=192.168.1.13/24" in after
    assert "static routers=192.168.1.1" in after
    assert "static domain_name_servers=192.168.1.1 9.9.9.9" in after


def test_old_networkd_gets_an_inherited_address_from_udev(project_folder: Path) -> None:
    pi = pi_of(plan_of(project_folder, base="raspios-bullseye", node="bridge: {mac: inherit}\n"))
    assert "MACAddress" not in pi.ini("/etc/systemd/network/10-br0.netdev")["NetDev"]
    assert "/sys/class/net/eth0/address" in pi.text("/etc/udev/rules.d/80-pimu-br0.rules")


@pytest.mark.parametrize(
    ("node", "mac", "network"),
    [
        ("bridge: {mac: inherit}\n", "none", {"DHCP": "ipv4"}),
        (STATIC, "derived", {"Address": "192.168.1.13/24", "Gateway": "192.168.1.1", "DNS": "9.9.9.9"}),
    ],
)
def test_networkd_bridge(node: str, mac: str, network: dict[str, str], project_folder: Path) -> None:
    plan = plan_of(_with_networkd(project_folder), node=node)
    pi = pi_of(plan)

    netdev = pi.ini("/etc/systemd/network/10-br0.netdev")
    assert netdev["NetDev"]["MACAddress"] == (plan.identity.bridge_mac if mac == "derived" else mac)
    assert netdev["Bridge"]["STP"] == "no"
    assert dict(pi.ini("/etc/systemd/network/30-br0.network")["Network"]) == network
    assert pi.is_enabled("systemd-networkd.service")
    assert pi.is_masked("NetworkManager.service")


def test_two_nodes_differ_in_what_is_stamped_only(shipped_folder: Path) -> None:
    one, two = (plan_of(shipped_folder, name=name) for name in ("node-003", "node-004"))
    assert one.golden_edits() == two.golden_edits()
    assert one.layout == two.layout
    assert _bridge_mac(pi_of(one)) != _bridge_mac(pi_of(two))


def test_the_wired_port_has_the_kernels_name(shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder))
    for name in ("99-default.link", "73-usb-net-by-mac.link"):
        link = pi.entry(f"/etc/systemd/network/{name}")
        assert link is not None
        assert link.target == "/dev/null"


def _bridge_mac(pi: Pi) -> str:
    return pi.ini(f"{KEYFILES}/br0.nmconnection")["ethernet"]["cloned-mac-address"]


def _with_networkd(folder: Path) -> Path:
    file = folder / "profiles/bases/debian-trixie.yaml"
    file.write_text(file.read_text().replace("network: networkmanager", "network: networkd"))
    return folder
