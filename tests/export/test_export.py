"""The output of `pimu-build export` for a router: every machine, in words that the router's programs take."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.export.fleet import fleet
from builder.host.run import run, which
from builder.project import Project
from tests.planned import plan_of

ROUTER = Path(__file__).parents[1].joinpath("router.sh")
FIXED = "role: worker\nbridge:\n  ipv4: {address: 192.168.1.13/24, gateway: 192.168.1.1, dns: [192.168.1.1]}\n"
OF_ITS_PORT = "role: worker\nbridge: {mac: inherit}\nguest_hostname: pods\nmachine: {mac: '52:54:00:12:34:56'}\n"


@pytest.fixture
def folder(project_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server and two workers with files; node-005 has none."""
    (project_folder / "profiles/nodes/node-003.yaml").write_text(FIXED)
    (project_folder / "profiles/nodes/node-004.yaml").write_text(OF_ITS_PORT)
    monkeypatch.chdir(project_folder)
    return project_folder


@pytest.mark.parametrize("form", ["hosts", "dnsmasq", "json"])
def test_all_nodes_with_a_file_are_told_in_the_words_of(
    form: str,
    folder: Path,
    command_line: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    golden: Callable[[str, str], None],
) -> None:
    assert command_line("export", form) == 0
    golden(f"export-{form}.txt", capsys.readouterr().out)


def test_what_is_exported_is_what_is_baked_in(folder: Path) -> None:
    machines = {machine.name: machine for machine in fleet(Project(folder), ["node-005"], "worker")}
    identity = plan_of(folder, name="node-005").identity

    assert {name: machine.mac for name, machine in machines.items()} == {
        "node-005": identity.bridge_mac,
        "k3s-005": identity.guest_mac,
    }


def test_a_role_is_for_those_that_have_none_of_their_own(folder: Path) -> None:
    machines = fleet(Project(folder), ["node-001", "node-005"], "worker")
    assert [(machine.node, machine.kind) for machine in machines] == [
        ("node-001", "pi"),
        ("node-005", "pi"),
        ("node-005", "guest"),
    ]


def test_a_node_without_a_file_and_without_a_role_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="node-005 has no role"):
        fleet(Project(folder), ["node-005"], None)


def test_json_names_every_machine_once(
    folder: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line("export", "json", "node-003", "node-005", "node-003", "--role", "worker") == 0
    names = [machine["full_name"] for machine in json.loads(capsys.readouterr().out)]
    assert names == ["node-003.lan", "k3s-003.lan", "node-005.lan", "k3s-005.lan"]


@pytest.mark.disk
def test_dnsmasq_gives_every_machine_its_name_and_its_address(
    folder: Path, tmp_path: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Real dnsmasq and a real client, on a wire of their own."""
    assert command_line("export", "dnsmasq") == 0
    (tmp_path / "pimu.conf").write_text(capsys.readouterr().out)
    asking = [machine for machine in fleet(Project(folder), [], None) if machine.mac is not None]
    namespace = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    macs = [machine.mac or "" for machine in asking]

    told = run([*namespace, ROUTER, tmp_path / "pimu.conf", tmp_path, "node-003.lan", *macs], timeout=300).text

    *leases, address = told.splitlines()
    given = {mac: (where, name) for mac, where, name in map(str.split, leases)}
    assert {mac: name for mac, (_, name) in given.items()} == {machine.mac: machine.name for machine in asking}
    assert [where for where, name in given.values() if name == "node-003"] == ["192.168.1.13"]
    assert address == "192.168.1.13"


def test_dnsmasq_finds_no_fault_in_it(
    folder: Path, tmp_path: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line("export", "dnsmasq", "node-001", "node-003", "node-004") == 0
    text = capsys.readouterr().out
    assert require_dnsmasq_lines(text) == 5
    if which("dnsmasq") is not None:
        assert dnsmasq_says(text, tmp_path) == 0
        assert dnsmasq_says(text.replace("host-record", "host-records"), tmp_path) != 0


def dnsmasq_says(text: str, folder: Path) -> int:
    file = folder / "pimu.conf"
    file.write_text(text)
    return run(["dnsmasq", "--test", f"--conf-file={file}"], check=False).returncode


def require_dnsmasq_lines(text: str) -> int:
    """Number of lines in the two forms of dnsmasq(8) that are used here."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in lines:
        option, _, value = line.partition("=")
        first, *rest = value.split(",")
        if option == "dhcp-host":
            assert [int(octet, 16) < 256 for octet in first.split(":")] == [True] * 6
            *addresses, name = rest
            assert name.replace("-", "").isalnum()
        else:
            assert option == "host-record"
            assert first == f"{rest[0]}.lan"
            addresses = rest[1:]
        assert len([ipaddress.IPv4Address(address) for address in addresses]) <= 1
    return len(lines)
