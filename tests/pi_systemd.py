"""systemd itself as the first process of a room that looks like the Pi (pi_room): it starts the units of overlays/ with
all that they forbid themselves. Needs root and cgroup v2.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNITS = "/usr/lib/systemd/system"
DEVICE = "sys-subsystem-net-devices-br0.device"
"""Made by udev, which runs in no container: units do without it here."""
_FURNISH = f"""
set -eu
cd "$1"
mkdir -p usr proc sys dev run tmp root home var/log var/lib/pimu boot/firmware etc/systemd/system
for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$name"; done
cp -R "$2/etc/." etc
echo 00000000000000000000000000000001 >etc/machine-id
printf 'passwd: files\\ngroup: files\\n' >etc/nsswitch.conf
mount -t overlay -o "lowerdir=$2/usr:/usr" overlay usr
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
for folder in boot/firmware usr/local/bin; do mount -t tmpfs tmpfs "$folder"; done

# Of the system's units the journal alone: others would set up this machine's kernel.
for wanted in usr/lib/systemd/system/*.target.wants/*; do
    case $wanted in *journal*) ;; *) ln -sf /dev/null "etc/systemd/system/${{wanted##*/}}" ;; esac
done
for unit in usr/lib/systemd/system/pimu-*.service; do
    ! grep -q {DEVICE} "$unit" || sed '/^BindsTo=/d; s/{DEVICE}//' "$unit" >"etc/systemd/system/${{unit##*/}}"
done
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' >etc/systemd/system/room.target
ip link add br0 type bridge
ip link set br0 up
mount --rbind . .
cd "$1"
pivot_root . run
umount -l /run
mount -t tmpfs tmpfs /run
exec env -i container=pimu PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --unit=room.target --log-target=journal
"""
_NAMESPACES = ("--cgroup", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child")


class Machine:
    """A room in which systemd runs. `root` is the folder that is / inside."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self._pid = pid

    def run(self, script: str, *, succeeds: bool = True) -> str:
        """The output of the script, both streams."""
        argv = ["nsenter", "--target", str(self._pid), "--all", "sh", "-c", script]
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
        )
        assert (done.returncode == 0) is succeeds, f"{done.stdout}\n{self.journal() if succeeds else ''}"
        return done.stdout

    def start(self, *units: str, succeeds: bool = True) -> None:
        self.run(f"systemctl start {' '.join(units)}", succeeds=succeeds)

    def journal(self) -> str:
        """The journal of our units, with systemd's lines about them."""
        return self.run("journalctl --no-pager -o short-monotonic -u 'pimu-*' -u k3s")

    def report(self, step: str) -> dict[str, str]:
        """The line of the step in the report on the boot volume."""
        report: dict[str, Any] = json.loads(self.run("cat /boot/firmware/pimu-report.json"))
        found: dict[str, str] = report["steps"][step]
        return found


@contextmanager
def started(root: Path, staged: Path) -> Iterator[Machine]:
    """systemd, up, with `root` (a mounted filesystem) as its /, and the units in `staged`. It dies with the block."""
    group = _cgroups() / f"pimu-{os.getpid()}"
    group.mkdir()
    enter = 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"'
    namespaces = ["unshare", *_NAMESPACES, "--propagation", "private"]
    keeper = subprocess.Popen(
        ["sh", "-euc", enter, "enter", group, *namespaces, "sh", "-c", _FURNISH, "furnish", root, staged],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        machine = Machine(root, _first_process(keeper))
        _wait_until_up(machine, keeper)
        try:
            yield machine
        finally:
            machine.run("swapoff /swapfile 2>/dev/null || true")  # swap outlives the processes that switched it on
    finally:
        keeper.kill()
        keeper.communicate()
        while "populated 1" in (group / "cgroup.events").read_text():
            time.sleep(0.05)  # the kernel ends the tree of processes after its first one
        for folder in sorted(group.rglob("*"), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        group.rmdir()


def _cgroups() -> Path:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next(Path(folder) for _, folder, kind, *_ in mounts if kind == "cgroup2")


def _first_process(keeper: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
    while keeper.poll() is None:
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.05)
    raise AssertionError(keeper.communicate()[0])


def _wait_until_up(machine: Machine, keeper: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert keeper.poll() is None, keeper.communicate()[0]
        try:
            if machine.run("systemctl is-active room.target || true") == "active\n":
                return
        except AssertionError:
            pass  # systemd has not come so far that anything could be entered
        time.sleep(0.2)
    keeper.send_signal(signal.SIGKILL)
    raise AssertionError(f"systemd did not come up: {keeper.communicate()[0]}")
