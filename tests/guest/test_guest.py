"""The guest as a machine of its own: it boots from what is in the image, reads its seed, and goes down when asked."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.boot.ssh import Shell
from builder.build import Built
from builder.guest.seed import make_seed
from builder.host import run
from builder.host.qmp import Qmp
from tests.conftest import SHIPPED, copy_shipped
from tests.planned import plan_of
from tests.target import Target

pytestmark = pytest.mark.disk

KEY = SHIPPED / "profiles/access/id_ed25519"
CPU = "Nehalem,-cx16"  # good for every QEMU that a build host may have (profiles/guests/debian.yaml)
TIMEOUT = 240.0  # seconds; a quiet machine needs 15
CUT_SHORT = b"""
rm -rf /home/pimu /var/lib/pimu/accounts
sed -i /^pimu:/d /etc/shadow
for file in passwd shadow group gshadow; do echo 1 >/etc/$file.lock; done
echo 10.9.9.9 server >>/etc/hosts
"""
LIMITS = {"Max open files": "1048576", "Max processes": "unlimited", "Max core file size": "unlimited"}
"""Limits of k3s and its containers, as in its own service (install.sh)."""
STATIC = b"""version: 2
ethernets:
  lan:
    addresses: ["10.0.2.40/24"]
    gateway4: 10.0.2.2
    nameservers: {addresses: [10.0.2.3, "10.0.2.4"]}
"""


@dataclass(frozen=True)
class Machine:
    qmp: Qmp
    shell: Shell
    serial: Path

    def said(self) -> str:
        return self.serial.read_text(errors="replace")


@contextmanager
def machine(built: Built, target: Target, disk: Path, seed: Path, address: str = "") -> Iterator[Machine]:
    """The guest switched on, until it switches itself off. ssh goes to `address`, or to the first one by DHCP."""
    files, guest, serial = target.tree / "usr/share/pimu/guest", built.plan.guest, disk.with_suffix(f".{seed.stem}.log")
    assert guest is not None
    assert guest.kernel_words is not None
    ours, theirs = socket.socketpair()
    port = free_port()
    process = run.start(
        [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", guest.machine, "-accel", "tcg", "-cpu", CPU, "-m", "1G"),
            *("-kernel", files / "vmlinuz", "-initrd", files / "initrd.img", "-append", guest.kernel_words),
            *("-drive", f"if=virtio,file={disk},format=qcow2"),
            *("-drive", f"if=virtio,file={seed},format=raw,readonly=on"),
            *("-netdev", f"user,id=lan,hostfwd=tcp:127.0.0.1:{port}-{address}:22"),
            *("-device", f"virtio-net-pci,netdev=lan,mac={built.plan.identity.guest_mac},romfile="),
            *("-serial", f"file:{serial}"),
            *("-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"),
        ],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    try:
        running = Machine(Qmp(ours), Shell(built.plan.settings.user.name, port, KEY), serial)
        wait_until(running.shell.answers, serial)
        yield running
        running.qmp.execute("system_powerdown")
        process.wait(TIMEOUT)
        assert "reboot: Power down" in running.said()
    finally:
        run.kill(process)
        ours.close()


def test_the_guest_is_what_its_seed_says_heals_and_powers_down(target: Target, built: Built, tmp_path: Path) -> None:
    settings, disk = built.plan.settings, tmp_path / "disk.qcow2"
    base = target.tree / "usr/share/pimu/guest/base.qcow2"
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk])
    with machine(built, target, disk, target.tree / "usr/share/pimu/guest/seed.img") as guest:
        asked = b"hostname; id -un; findmnt -rno FSTYPE,OPTIONS /; ls /etc/ssh/ssh_host_*_key"
        assert guest.shell.run(asked, TIMEOUT) == (
            f"{settings.guest_hostname}\nroot\next4 rw,noatime,discard\n/etc/ssh/ssh_host_ed25519_key\n"
        )
        assert guest.shell.run(b"df --output=size -B1G / | tail -n 1", TIMEOUT).strip() in ("125", "126", "127")
        assert f"{settings.guest_hostname} login:" in guest.said()
        limits = guest.shell.run(b"cat /proc/$(pgrep -of pimu/k3s-agent)/limits", TIMEOUT)
        for name in ("Max open files", "Max processes", "Max core file size"):
            assert re.search(rf"{name} +{LIMITS[name]} +{LIMITS[name]} ", limits), limits
        assert guest.shell.run(b"ulimit -S -n; ulimit -H -n", TIMEOUT) == "1024\n1048576\n"
        assert "network: eth0 asks for an address by DHCP" in guest.said()
        guest.shell.run(CUT_SHORT.replace(b"pimu:", settings.user.name.encode() + b":"), TIMEOUT)
    assert "needs_recovery" not in superblock(disk, tmp_path)

    with machine(built, target, disk, static_seed(built, tmp_path), address="10.0.2.40") as guest:
        assert guest.shell.run(b"tail -n 1 /etc/hosts; cat /etc/resolv.conf; ip route", TIMEOUT).splitlines()[:4] == [
            "10.9.9.9 server",
            "nameserver 10.0.2.3",
            "nameserver 10.0.2.4",
            "default via 10.0.2.2 dev eth0 ",
        ]
        assert guest.shell.run(b"stat -c %U ~pimu; getent shadow pimu | cut -c 1-7", TIMEOUT) == "pimu\npimu:*:\n"
    run.run(["qemu-img", "check", "-q", disk])


def static_seed(built: Built, folder: Path) -> Path:
    """The seed of the same node with a fixed address, and without k3s's secrets."""
    project = copy_shipped(folder / "project")
    (project / "cloud-init/network-config.j2").unlink()
    (project / "cloud-init/network-config").write_bytes(STATIC)
    files = {file.name: file.content for file in plan_of(project).seed if file.secret is None}
    assert files["user-data"] == next(file.content for file in built.plan.seed if file.name == "user-data")
    work, image = folder / "work", folder / "static.img"
    work.mkdir()
    make_seed(files, image, 1, 0, work)
    return image


def superblock(disk: Path, folder: Path) -> str:
    """The superblock of the filesystem that fills the disk: its first MiB is enough."""
    head = folder / "head.raw"
    run.run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=1M", "count=1", f"if={disk}", f"of={head}"])
    return run.run(["dumpe2fs", "-h", head], check=False).text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until(condition: Callable[[], bool], serial: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"the guest does not answer:\n{serial.read_text(errors='replace')[-2000:]}")
