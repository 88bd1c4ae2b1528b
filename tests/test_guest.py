"""The guest as a machine of its own: it boots from what is in the image, reads its seed, and goes down when asked."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import run
from builder.boot.qmp import Qmp
from builder.boot.ssh import Shell
from builder.build import Built
from tests.conftest import SHIPPED
from tests.target import Target

pytestmark = pytest.mark.disk

KEY = SHIPPED / "profiles/access/id_ed25519"
CPU = "Nehalem,-cx16"  # good for every QEMU that a build host may have (profiles/guests/debian.yaml)
TIMEOUT = 240.0  # seconds; a quiet machine needs 15


def test_the_guest_takes_its_identity_from_the_seed_and_powers_down(
    target: Target, built: Built, tmp_path: Path
) -> None:
    files = target.tree / "usr/share/pimu/guest"
    guest = built.plan.guest
    assert guest is not None
    assert guest.kernel_words is not None
    disk, serial = tmp_path / "disk.qcow2", tmp_path / "serial.log"
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", files / "base.qcow2", "-F", "qcow2", disk])
    ours, theirs = socket.socketpair()
    port = free_port()
    process = run.start(
        [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", guest.machine, "-accel", "tcg", "-cpu", CPU, "-m", "1G"),
            *("-kernel", files / "vmlinuz", "-initrd", files / "initrd.img", "-append", guest.kernel_words),
            *("-drive", f"if=virtio,file={disk},format=qcow2"),
            *("-drive", f"if=virtio,file={files / 'seed.img'},format=raw,readonly=on"),
            *("-netdev", f"user,id=lan,hostfwd=tcp:127.0.0.1:{port}-:22"),
            *("-device", f"virtio-net-pci,netdev=lan,mac={built.plan.identity.guest_mac},romfile="),
            *("-serial", f"file:{serial}"),
            *("-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"),
        ],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    try:
        qmp = Qmp(ours)
        settings = built.plan.settings
        shell = Shell(settings.user.name, port, KEY)
        wait_until(shell.answers, serial)
        assert shell.run(b"hostname; id -un; findmnt -rno FSTYPE,OPTIONS /; ls /etc/ssh/ssh_host_*_key", TIMEOUT) == (
            f"{settings.guest_hostname}\nroot\next4 rw,noatime,discard\n/etc/ssh/ssh_host_ed25519_key\n"
        )
        assert shell.run(b"df --output=size -B1G / | tail -n 1", TIMEOUT).strip() in ("125", "126", "127")
        assert f"{settings.guest_hostname} login:" in serial.read_text(errors="replace")
        qmp.execute("system_powerdown")
        process.wait(TIMEOUT)
        assert "reboot: Power down" in serial.read_text(errors="replace")
    finally:
        run.kill(process)
        ours.close()
    run.run(["qemu-img", "check", "-q", disk])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until(condition: Callable[[], bool], serial: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"the guest does not answer:\n{serial.read_text(errors='replace')[-2000:]}")
        time.sleep(1)
