"""The files for each network manager, judged by that manager's own programs: nmcli and NetworkManager,
systemd-networkd, dhcpcd."""

from __future__ import annotations

import configparser
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.planned import Pi, pi_of, plan_of

KEYFILES = "etc/NetworkManager/system-connections/"
FIXED = "ipv4: {address: 192.168.1.13/24, gateway: 192.168.1.1, dns: [%s]}"
CASES = {
    "dhcp": "ipv4: dhcp",
    "dhcp with the port's address": "mac: inherit, ipv4: dhcp",
    "one server of names": FIXED % "192.168.1.1",
    "three servers of names": FIXED % "192.168.1.1, 9.9.9.9, 149.112.112.112",
    "no server of names": FIXED % "",
    "the port's address": "mac: inherit, " + FIXED % "192.168.1.1",
    "point to point": "ipv4: {address: 192.168.1.3/31, gateway: 192.168.1.2, dns: []}",
}
STARTED = ("dhcp", "three servers of names", "no server of names", "point to point")
COMPLAINTS = ("unknown", "invalid", "failed", "not supported", "error")
"""Words of complaint of networkd and dhcpcd. NetworkManager warns of a file that it cannot use."""
ROOM = Path(__file__).parents[1].joinpath("network_room.sh")


@dataclass(frozen=True)
class Seen:
    """The outcome of a manager's files in a network of its own, by section of ROOM's end; each a list of lines."""

    sections: dict[str, list[str]]

    def __getitem__(self, name: str) -> list[str]:
        return self.sections[name]

    @property
    def complaints(self) -> list[str]:
        if any("<info>" in line for line in self["said"]):
            return [line for line in self["said"] if "<warn>" in line and "keyfile" in line]
        return [line for line in self["said"] if any(word in line.lower() for word in COMPLAINTS)]


def written(folder: Path, base: str, bridge: str) -> Pi:
    return pi_of(plan_of(folder, base=base, node=f"bridge: {{{bridge}}}\n"))


def place(pi: Pi, folder: Path) -> Path:
    """The files that network managers read, below `folder`."""
    for path, entry in pi.root.entries.items():
        if entry.kind == "file" and path.startswith(("etc/systemd/network/", "etc/dhcpcd.conf", "etc/NetworkManager/")):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(entry.read())
            file.chmod(entry.mode)
    return folder


def started(files: Path, *, seconds: int = 20) -> Seen:
    """Each wait of ROOM is at most `seconds` long."""
    namespaces = ("--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
    argv = ["unshare", *namespaces, "sh", str(ROOM), str(files), str(seconds * 10)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sections: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = lines = []
        elif line:
            lines.append(line)
    return Seen(sections)


def nmcli(keyfile: str) -> subprocess.CompletedProcess[str]:
    """NetworkManager's parser reads the file and writes what it has understood."""
    argv = ["nmcli", "--offline", "connection", "modify", "connection.zone", ""]
    return subprocess.run(argv, input=keyfile, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", CASES)
def test_networkmanager_understands_its_files(case: str, project_folder: Path) -> None:
    plan = plan_of(project_folder, node=f"bridge: {{{CASES[case]}}}\n")
    pi = pi_of(plan)

    for name in ("br0", "br0-port"):
        text = pi.text(f"/{KEYFILES}{name}.nmconnection")
        read = nmcli(text)
        assert (read.returncode, read.stderr) == (0, "")
        understood = configparser.ConfigParser(delimiters="=", interpolation=None)
        understood.read_string(read.stdout)
        # nmcli drops without a word what it does not know.
        meant = pi.ini(f"/{KEYFILES}{name}.nmconnection")
        lost = [
            f"{section}.{key}={value}"
            for section in meant.sections()
            for key, value in meant[section].items()
            if _plain(value) not in {_plain(understood.get(section, name, fallback="")) for name in _names(key)}
        ]
        assert lost == []


def _names(key: str) -> tuple[str, ...]:
    """The names of a key in the versions of NetworkManager (1.46 renamed two)."""
    return {"master": ("master", "controller"), "slave-type": ("slave-type", "port-type")}.get(key, (key,))


def _plain(value: str) -> str:
    return value.rstrip(";").lower()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("192.168.1.13/24", "192.168.1.13/255.255.255.0"),
        ("192.168.1.13/24", "192.168.1.300/24"),
        ("method=manual", "method=fixed"),
        ("type=bridge", "type=brigde"),
    ],
)
def test_nmcli_notices_a_slip(right: str, wrong: str, project_folder: Path) -> None:
    text = written(project_folder, "debian-trixie", CASES["one server of names"]).text(f"/{KEYFILES}br0.nmconnection")
    assert right in text
    assert nmcli(text.replace(right, wrong)).returncode != 0


def test_networkmanager_leaves_the_guests_tap_alone(shipped_folder: Path) -> None:
    """NetworkManager.conf(5): `unmanaged-devices`, patterns of glob(7)."""
    conf = pi_of(plan_of(shipped_folder)).ini("/etc/NetworkManager/conf.d/10-pimu.conf")
    assert "interface-name:tap*" in conf["keyfile"]["unmanaged-devices"].split(";")


@pytest.mark.disk
@pytest.mark.parametrize("base", ["networkd", "raspios-bullseye", "debian-trixie"])
@pytest.mark.parametrize("case", STARTED)
def test_each_manager_does_what_the_profile_says(base: str, case: str, project_folder: Path, tmp_path: Path) -> None:
    bridge = CASES[case]
    if base == "networkd":
        profile = project_folder / "profiles/bases/debian-trixie.yaml"
        profile.write_text(profile.read_text().replace("network: networkmanager", "network: networkd"))
        base = "debian-trixie"
    plan = plan_of(project_folder, base=base, node=f"bridge: {{{bridge}}}\n")

    seen = started(place(pi_of(plan), tmp_path / "files"))

    assert seen.complaints == []
    ipv4 = plan.settings.bridge.ipv4
    if isinstance(ipv4, str):
        (address,) = seen["address"]
        assert address.startswith("192.168.1.5") or address == "192.168.1.60/24"
        assert seen["route"] == ["default via 192.168.1.1 dev br0"]
    else:
        assert seen["address"] == [ipv4.address]
        assert seen["route"] == [f"default via {ipv4.gateway} dev br0"]
        assert sorted(" ".join(seen["dns"]).split()) == sorted(ipv4.dns)
    assert seen["ports"] == ["eth0", "tap-guest"]
    assert seen["tap"] == []
    if plan.identity.bridge_mac:
        assert seen["mac"][0] == plan.identity.bridge_mac


@pytest.mark.disk
@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("30-br0.network", "Address=192.168.1.13/24", "Address=192.168.1.13/255.255.255.0"),
        ("30-br0.network", "Gateway=", "Gatway="),
        ("10-br0.netdev", "STP=no", "STP=of"),
        ("dhcpcd.conf", "192.168.1.13/24", "192.168.1.13/255.255.255.0"),
        ("dhcpcd.conf", "interface br0", "interfaces br0"),
        ("br0.nmconnection", "192.168.1.13/24", "192.168.1.13/255.255.255.0"),
    ],
)
def test_each_manager_notices_a_slip(file: str, right: str, wrong: str, project_folder: Path, tmp_path: Path) -> None:
    base = "debian-trixie" if file.startswith(("30-", "br0")) else "raspios-bullseye"
    if file.endswith(".network"):
        profile = project_folder / "profiles/bases/debian-trixie.yaml"
        profile.write_text(profile.read_text().replace("network: networkmanager", "network: networkd"))
    files = place(written(project_folder, base, CASES["one server of names"]), tmp_path / "files")
    (found,) = files.rglob(file)
    assert right in found.read_text()
    found.write_text(found.read_text().replace(right, wrong))
    assert started(files, seconds=4).complaints
