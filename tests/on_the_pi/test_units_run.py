"""Each service of ours does its work as shut in as its unit has it: started by systemd, in a room like the Pi."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.on_the_pi.test_runtime_disk import RESIZE2FS, flashed
from tests.on_the_pi.test_runtime_guest import GUEST, place_guest
from tests.pi_room import GUEST_ID, attached, filesystem, mounted, stage
from tests.pi_systemd import UNITS, Machine, started

pytestmark = pytest.mark.disk

MIB = 1 << 20
REFUSALS = ("not permitted", "Permission denied", "Read-only file system", "could not be reported", "status=")
PRIVILEGES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = stage(tmp_path / "stage")
    place_guest(folder, GUEST)
    return folder


def eventually(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def refusals(machine: Machine) -> list[str]:
    return [line for line in machine.journal().splitlines() if any(word in line for word in REFUSALS)]


def test_the_services_of_a_worker_do_their_work(staged: Path, tmp_path: Path) -> None:
    with (
        filesystem(tmp_path / "ssd.img", 1536 * MIB, tmp_path / "root") as root,
        started(root, staged) as machine,
    ):
        machine.start("pimu-hostkeys", "pimu-swap", "pimu-guest-disk")
        assert [machine.report(step)["status"] for step in ("hostkeys", "swap", "guest-disk")] == ["changed"] * 3
        assert len(list((root / "etc/ssh").glob("ssh_host_*_key"))) == 3
        assert machine.run("grep -c '^/swapfile ' /proc/swaps") == "1\n"

        machine.start("pimu-guest")
        assert machine.run("ls /sys/class/net/br0/brif") == "tap-guest\n"
        log = root / "var/log/pimu/guest-serial.log"
        eventually(lambda: log.exists() and "D" in log.read_text())
        status = dict(
            line.split(":\t", 1)
            for line in machine.run("cat /proc/$(pidof qemu-system-x86_64)/status").splitlines()
            if ":\t" in line
        )
        assert {int(status[name], 16) for name in PRIVILEGES} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()[0]) == ("1", "2", str(GUEST_ID))

        # The watch reads QEMU's socket, and cuts a long log as QEMU's user.
        with log.open("ab") as file:
            file.truncate(40 * MIB)
        machine.start("pimu-guest-watch", "pimu-report")
        assert machine.report("guest")["status"] == "running"
        assert log.stat().st_size == 0
        assert machine.report("boot")["status"] == "ok"

        # NetworkManager takes the tap out when br0 is switched off and on: the watch puts it back, QEMU's start too.
        for action in ("start pimu-guest-watch", "restart pimu-guest"):
            machine.run(f"ip link set dev tap-guest nomaster; systemctl {action}")
            assert machine.run("ls /sys/class/net/br0/brif") == "tap-guest\n"
        machine.run("systemctl stop pimu-guest")

        assert refusals(machine) == []
        assert machine.run("systemctl list-units --state=failed --plain --no-legend") == ""


def test_the_guests_tap_leaves_an_inherited_address_to_br0(staged: Path, tmp_path: Path) -> None:
    """A bridge takes the lowest address of its ports, when it has none of its own."""
    with (
        filesystem(tmp_path / "ssd.img", 256 * MIB, tmp_path / "root") as root,
        started(root, staged) as machine,
    ):
        machine.run(
            "ip link add eth0 address dc:a6:32:01:02:03 type veth peer name router; ip link set eth0 master br0"
        )
        for _ in range(3):
            machine.run("ip tuntap del dev tap-guest mode tap 2>/dev/null || true")
            machine.start("pimu-guest-tap")
            assert machine.run("cat /sys/class/net/br0/address") == "dc:a6:32:01:02:03\n"


def test_the_root_partition_grows(staged: Path, tmp_path: Path) -> None:
    """With a stand-in for resize2fs, as in test_runtime_disk."""
    stand_in = staged / "usr/sbin/resize2fs"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(RESIZE2FS)
    stand_in.chmod(0o755)
    image = flashed(tmp_path / "disk.img", size=300 * MIB)
    with (
        attached(image) as device,
        mounted(f"{device}p2", tmp_path / "root") as root,
        started(root, staged) as machine,
    ):
        machine.start("pimu-grow")
        assert machine.run(f"blockdev --getsize64 {device}p2") == f"{298 * MIB}\n"
        assert (root / "resized").read_text() == f"called for {device}p2\n"
        assert refusals(machine) == []


def test_a_server_installs_k3s(staged: Path, tmp_path: Path) -> None:
    """Without a clock that is set: the installer goes on after a while, which is a second here."""
    script = staged / "usr/lib/pimu/k3s-install"
    script.write_text(script.read_text().replace("most_wait=120", "most_wait=1"))
    program = b"#!/bin/sh\nexec systemd-notify --ready\n"
    with (
        filesystem(tmp_path / "ssd.img", 256 * MIB, tmp_path / "root") as root,
        started(root, staged) as machine,
    ):
        machine.run("mkdir -p /etc/rancher/k3s; echo secret | tee /etc/rancher/k3s/token >/etc/rancher/k3s/agent-token")
        releases = root / "releases/v1.36.5+k3s1"
        releases.mkdir(parents=True)
        (releases / "sha256sum-arm64.txt").write_text(f"{hashlib.sha256(program).hexdigest()}  k3s-arm64\n")
        (releases / "k3s-arm64").write_bytes(program)
        machine.start("pimu-k3s-install")
        eventually(lambda: machine.run("systemctl is-active pimu-k3s-install") == "active\n" and _reported(machine))
        assert machine.run("stat -c %a /usr/local/bin/k3s") == "755\n"
        eventually(lambda: "k3s.service" in machine.journal() or "Starting k3s" in machine.journal())
        assert not [line for line in refusals(machine) if "k3s-install" in line]


def _reported(machine: Machine) -> bool:
    return "version" in machine.run("cat /boot/firmware/pimu-report.json 2>/dev/null || true")


@pytest.mark.parametrize(
    ("unit", "right", "wrong"),
    [
        ("pimu-swap.service", "SystemCallFilter=@swap", "SystemCallFilter=~@swap"),
        ("pimu-swap.service", "ProtectSystem=full", "ProtectSystem=strict"),
        ("pimu-hostkeys.service", "ReadWritePaths=/etc/ssh ", "ReadWritePaths="),
        ("pimu-guest-disk.service", "CAP_CHOWN ", ""),
        ("pimu-guest-tap.service", "DeviceAllow=/dev/net/tun rw", "DeviceAllow=/dev/null rw"),
        ("pimu-guest-tap.service", "CapabilityBoundingSet=CAP_NET_ADMIN", "CapabilityBoundingSet="),
    ],
)
def test_a_service_that_is_shut_in_too_far_fails(
    unit: str, right: str, wrong: str, staged: Path, tmp_path: Path
) -> None:
    file = staged / UNITS.lstrip("/") / unit
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    with (
        filesystem(tmp_path / "ssd.img", 1024 * MIB, tmp_path / "root") as root,
        started(root, staged) as machine,
    ):
        machine.start(unit, succeeds=False)
