"""The boot test's own parts: what the firmware would load, how a probe is read, and that each check can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.boot.checks import (
    booted_without_cable,
    packages_clean,
    system_checks,
    unchanged,
)
from builder.boot.firmware import boot_files, chosen
from builder.boot.machine import PORT_MAC
from builder.boot.probe import guest_probe, parse, system_probe
from builder.errors import BuildError
from builder.features import NODE_SETTINGS
from builder.features.boot_check import Expected, Facts
from builder.features.guest.checks import (
    guest_checks,
    guest_disk_untouched,
    guest_is_settled,
    guest_went_down,
)
from builder.host.run import run
from builder.machines.serial_line import readable
from builder.model.identity import Identity, link_local
from builder.text import tail
from tests.tiny_image import CMDLINE, make_image

SETTINGS = NODE_SETTINGS.model_validate(
    {
        "name": "node-003",
        "hostname": "node-003",
        "cluster": "pimu",
        "domain": "lan",
        "timezone": "Etc/UTC",
        "locale": "C.UTF-8",
        "role": "worker",
        "base": "debian-trixie",
        "guest": "debian",
        "user": {"name": "pimu", "ssh_keys": []},
        "packages": {},
        "overclock": None,
        "swap": {"size": "64GiB", "reserve": "33%"},
        "trim": {"calendar": "*:0/2", "enclosures": []},
        "bridge": {"port": "eth0", "mac": "derived", "ipv4": "dhcp"},
        "machine": {"memory": "auto", "cpus": 3, "tb_size": "256MiB", "stop_timeout": 180, "mac": "derived"},
        "guest_hostname": "k3s-003",
    }
)
WANT = Expected(
    settings=SETTINGS,
    identity=Identity(
        disk_id=0xDEADBEEF, bridge_mac="52:54:00:00:00:01", guest_mac="52:54:00:00:00:02", instance_id="i"
    ),
    boot_mount="/boot/firmware",
    disk_id="0xdeadbeef",
    edited=frozenset({"/etc/qemu/bridge.conf", "/usr/lib/systemd/system/x.service"}),
    imported=False,
    guest=True,
    port_mac=PORT_MAC,
)
SYSTEM = {
    "system": "running",
    "failed": "",
    "hostname": "node-003",
    "disk-sectors": "33554432",
    "root-start": "1064960",
    "root-sectors": "32489472",
    "root-blocks": "4061184 4096",
    "table": "label: dos\nlabel-id: 0xdeadbeef\ndevice: /dev/vda\n",
    "swaps": "Filename Type Size Used Priority\n/swapfile file 1048572 0 -2",
    "swap-kernel": "[   12.3] Adding 1048572k swap on /swapfile.  Priority:-2 extents:3 across:1064956k SSDc",
    "swapfile": "12 1073741824 600",
    "now": "1000",
    "trim-next": "1100",
    "bridge-mac": "52:54:00:00:00:01",
    "bridge-state": "up",
    "bridge-stp": "0",
    "bridge-address": "10.0.2.15/24",
    "bridge-ports": "eth0\ntap-guest",
    "interfaces": "br0\neth0\nlo\ntap-guest",
    "machine-id": "0123456789abcdef0123456789abcdef",
    "host-keys": "a  /etc/ssh/ssh_host_ecdsa_key\nb  /etc/ssh/ssh_host_ed25519_key\nc  /etc/ssh/ssh_host_rsa_key",
    "report": '{"node": "node-003", "steps": {"grow": {"status": "done"}, "swap": {"status": "degraded"}}}',
    "guest-disk": "14 pimu-guest 640",
    "guest-disk-written": "900",
    "guest-log": "[  60.1] reboot: Power down\n",
    "booted": "950",
    "dpkg-audit": "",
    "dpkg-verify": "??5?????? c /etc/qemu/bridge.conf\n??5??????   /lib/systemd/system/x.service",
}
GUEST = {
    "unit": "active",
    "restarts": "0",
    "process": "/usr/bin/qemu-system-x86_64 pimu-guest",
    "heard-on": "tap-guest",
    "privileges": "CapInh 0, CapPrm 0, CapEff 0, CapBnd 0, CapAmb 0, NoNewPrivs 1, Seccomp 2",
    "ssh": "SSH-2.0-OpenSSH_10.0p2 Debian-7",
    "log": "[    0.0] Linux version 6.12.57+deb13-cloud-amd64 (gcc)\n\nDebian GNU/Linux 13\n\nk3s-003 login:",
}


def failed(facts: Facts) -> list[str]:
    return [result.name for result in system_checks(facts, WANT) if not result.passed]


def test_a_good_system_passes_every_check() -> None:
    assert failed(SYSTEM) == []
    assert all(result.passed for result in guest_checks(GUEST, WANT))
    assert all(result.passed for result in unchanged(SYSTEM, SYSTEM))
    assert all(result.passed for result in packages_clean(SYSTEM, WANT))
    assert guest_went_down(SYSTEM).passed
    assert guest_disk_untouched(SYSTEM).passed


@pytest.mark.parametrize(
    ("fact", "value", "check"),
    [
        ("failed", "pimu-swap.service loaded failed failed Make the swapfile", "no failed units"),
        ("system", "starting", "no failed units"),
        ("hostname", "debian", "hostname"),
        ("table", "label: dos\nlabel-id: 0x00000001\n", "disk id"),
        ("root-sectors", "2000000", "root grown"),
        ("root-blocks", "250000 4096", "root grown"),
        ("root-blocks", "", "root grown"),
        ("swaps", "", "swap"),
        ("swapfile", "12 1073741824 644", "swap"),
        ("swap-kernel", SYSTEM["swap-kernel"].removesuffix("Dc"), "swap"),
        ("swap-kernel", SYSTEM["swap-kernel"].removesuffix("Dc") + "Dsc", "swap"),
        ("trim-next", "1121", "fstrim.timer"),
        ("trim-next", "", "fstrim.timer"),
        ("bridge-mac", "dc:a6:32:00:00:01", "br0 MAC"),
        ("bridge-state", "", "br0 state"),
        ("bridge-stp", "1", "br0 spanning tree"),
        ("bridge-address", "", "br0 address"),
        ("bridge-ports", "tap0", "br0 port"),
        ("interfaces", "br0\nlo\nvirbr0", "bridges of libvirt"),
        ("machine-id", "uninitialized", "machine-id"),
        ("host-keys", "", "ssh host keys"),
        ("report", "", "report"),
        ("report", "[]", "report"),
        ("report", '{"node": "node-004", "steps": {"grow": {"status": "ok"}}}', "report"),
        ("report", '{"node": "node-003", "steps": {"grow": {"status": "failed"}}}', "report"),
        ("report", '{"node": "node-003", "steps": {}}', "report"),
    ],
)
def test_each_check_of_the_system_can_fail(fact: str, value: str, check: str) -> None:
    assert failed({**SYSTEM, fact: value}) == [check]


@pytest.mark.parametrize(
    ("fact", "value", "check"),
    [
        ("unit", "activating", "pimu-guest"),
        ("process", "/usr/bin/qemu-system-x86_64 root", "guest process"),
        ("heard-on", "eth0", "guest on br0"),
        ("heard-on", "tap0", "guest on br0"),
        ("privileges", GUEST["privileges"].replace("CapAmb 0", "CapAmb 1000"), "guest's privileges"),
        ("log", GUEST["log"].replace("Linux", "Minix"), "guest kernel"),
        ("log", f"[ 217.5] tsc: Marking TSC unstable due to clocksource watchdog\n{GUEST['log']}", "guest clock"),
        ("log", GUEST["log"].replace("k3s-003 login", "localhost login"), "guest login"),
        ("ssh", "", "guest ssh"),
    ],
)
def test_each_check_of_the_guest_can_fail(fact: str, value: str, check: str) -> None:
    results = guest_checks({**GUEST, fact: value}, WANT)
    assert [result.name for result in results if not result.passed] == [check]


def test_the_guest_is_found_by_its_mac_address() -> None:
    assert link_local("52:54:00:08:f0:66") == "fe80::5054:ff:fe08:f066"


def test_waiting_for_the_guest_ends_when_it_is_up_or_never_will_be() -> None:
    assert guest_is_settled(GUEST)
    assert guest_is_settled({**GUEST, "log": "", "unit": "failed"})
    assert guest_is_settled({**GUEST, "log": "", "heard-on": "", "restarts": "3"})
    assert not guest_is_settled({**GUEST, "heard-on": ""})
    assert not guest_is_settled({**GUEST, "ssh": ""})


def test_a_boot_that_waits_for_the_cable_is_noticed() -> None:
    assert booted_without_cable({**SYSTEM, "multi-user": "61500000"}, 62).passed
    assert not booted_without_cable({**SYSTEM, "multi-user": "61500000"}, 60).passed
    assert not booted_without_cable({**SYSTEM, "multi-user": "0"}, 60).passed  # never


def test_a_second_boot_must_leave_things_alone() -> None:
    after = {**SYSTEM, "machine-id": "f" * 32, "guest-disk-written": "951", "guest-log": "systemd[1]: Reached target"}
    changed = [result.name for result in unchanged(SYSTEM, after) if not result.passed]
    assert changed == ["machine-id since the first boot"]
    assert not guest_disk_untouched(after).passed
    assert not guest_disk_untouched({**SYSTEM, "guest-disk-written": "stat: No such file"}).passed
    assert not guest_went_down(after).passed


def test_files_that_changed_without_being_asked_are_named() -> None:
    verify = SYSTEM["dpkg-verify"] + "\nmissing     /usr/bin/vim.basic"
    audit, changed = packages_clean({**SYSTEM, "dpkg-audit": "half", "dpkg-verify": verify}, WANT)
    assert not audit.passed
    assert changed.describe() == "dpkg --verify: missing     /usr/bin/vim.basic; expected nothing"


def test_conffiles_that_a_publisher_edited_are_not_held_against_its_image() -> None:
    verify = "??5?????? c /etc/login.defs\n??5??????   /usr/bin/login\nmissing   c /etc/pam.conf"
    facts = {**SYSTEM, "dpkg-verify": verify}
    _, ours = packages_clean(facts, WANT)
    _, theirs = packages_clean(facts, replace(WANT, imported=True))
    assert "/etc/login.defs" in ours.describe()
    assert theirs.describe().endswith("??5??????   /usr/bin/login\nmissing   c /etc/pam.conf; expected nothing")


def test_facts_are_read_by_name_and_without_terminal_codes() -> None:
    assert parse("noise\n@@ a\n1\n@@ b\n\x1b[0;32mtwo\x1b[0m\r\nlines\n@@ c\n@@ end\n") == {
        "a": "1",
        "b": "two\nlines",
        "c": "",
        "end": "",
    }


def test_a_probe_that_broke_off_says_where() -> None:
    with pytest.raises(BuildError, match="broke off after 'swaps'"):
        parse("@@ system\nrunning\n@@ swaps\n")


def test_a_serial_log_is_readable() -> None:
    log = "\x1b[?2004h[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m.\r\n"
    assert readable(log) == "[  OK  ] Reached target multi-user.target.\n"
    assert tail("a\nb\nc\n", 2) == "\n  | b\n  | c"


def test_scripts_are_told_their_variables_safely() -> None:
    text = guest_probe(GUEST_MAC="it's")
    assert text.startswith(b"GUEST_MAC='it'\"'\"'s'\n#!/bin/sh\n")
    assert run(["sh", "-n"], input=text).returncode == 0


def test_one_probe_tells_the_facts_of_all_features() -> None:
    """Each check above judges a fact, and SYSTEM has all of them: the script must tell no fewer, each once."""
    text = system_probe(BOOT_MOUNT="/boot", PACKAGES="yes").decode()
    told = [line.split()[1] for line in text.splitlines() if line.strip().startswith("fact ")]

    assert run(["sh", "-n"], input=text.encode()).returncode == 0
    assert set(SYSTEM) - set(told) == set()
    assert len(told) == len(set(told))
    assert (told[0], told[-1]) == ("system", "end")


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ("", ("kernel8.img", None)),
        ("auto_initramfs=1\n", ("kernel8.img", "initramfs8")),
        ("[pi5]\nkernel=other\n[all]\nkernel=vmlinuz-6\ninitramfs initrd-6 followkernel\n", ("vmlinuz-6", "initrd-6")),
        ("[pi4]\narm_freq=2000\nkernel=vmlinuz-6\n[cm4]\nkernel=other\n", ("vmlinuz-6", None)),
        ("# kernel=no\n  kernel=yes\n", ("yes", None)),
    ],
)
def test_the_firmware_loads_what_config_txt_names(config: str, names: tuple[str, str | None]) -> None:
    assert chosen(config) == names


@pytest.mark.disk
def test_boot_files_come_from_the_image_itself(tmp_path: Path) -> None:
    manifest = make_image(tmp_path / "tiny.img")
    (tmp_path / "boot").mkdir()

    files = boot_files(tmp_path / "tiny.img", manifest.layout, tmp_path / "boot")

    assert files.kernel.read_bytes() == b"kernel"
    assert files.initrd is not None
    assert files.initrd.read_bytes() == b"initrd"
    assert files.cmdline == CMDLINE.decode().strip()
