"""A room that looks like the Pi to the scripts of overlays/: the scripts themselves, this machine's programs, and a
private /etc, /var, /run, network and process tree. Whatever is started in it dies with it. Needs root.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builder.template.strict import render

FEATURES = Path(__file__).parents[1] / "overlays" / "features"
SETS = (
    "runtime",
    "runtime-node",
    "growth",
    "swap",
    "trim",
    "hostkeys",
    "identities",
    "guest",
    "qemu-bridge",
    "k3s-release",
    "k3s",
)
GUEST_ID = 900
VARIABLES: dict[str, Any] = {
    "node": {
        "name": "node-003",
        "guest_hostname": "k3s-003",
        "trim": {"calendar": "*:0/2"},
        "swap": {"size": 256 << 20, "reserve": "33%"},
        "machine": {"memory": 64 << 20, "cpus": 1, "stop_timeout": 40},
        "k3s_cluster": {"version": "v1.36.5+k3s1", "releases": "file:///releases", "sha256": {}},
    },
    "base": {"architecture": "arm64", "boot": {"mount": "/boot/firmware"}},
    "guest": {"machine": "q35", "disk": 1 << 30, "kernel_words": None},
    "identity": {"guest_mac": "52:54:00:12:34:56"},
    "guest_accel": "tcg,thread=single,tb-size=32",
    "guest_cpu": "qemu64",
}
_FURNISH = """
set -eu
cd "$1"
mkdir -p usr proc sys dev run tmp var/log var/lib boot/firmware
for name in bin sbin lib lib64; do [ -e "$name" ] || ln -s "usr/$name" "$name"; done
cp -R "$2/etc" .
mount -t overlay -o "lowerdir=$2/usr:/usr" overlay usr
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs boot/firmware
echo ready
exec cat
"""


def stage(folder: Path) -> Path:
    """The files of the features' overlays at their places below `folder`, as an image has them."""
    for name in SETS:
        volume = FEATURES / name / "root"
        for source in sorted(path for path in volume.rglob("*") if path.is_file()):
            text = source.read_text()
            target = folder / source.relative_to(volume)
            if target.suffix == ".j2":
                text, target = render(text, str(source), VARIABLES), target.with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o755 if {"pimu", "identities.d", "bin"} & {target.parent.name} else 0o644)
    etc = folder / "etc"
    (etc / "ssh").mkdir()
    (etc / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\npimu-guest:x:{GUEST_ID}:{GUEST_ID}::/:/usr/sbin/nologin\n")
    (etc / "group").write_text(f"root:x:0:\npimu-guest:x:{GUEST_ID}:\n")
    shutil.copy("/etc/ld.so.cache", etc)
    return folder


class Room:
    """`root` is the folder that is / inside."""

    def __init__(self, root: Path, staged: Path) -> None:
        self.root = root
        self._keeper = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _FURNISH, "furnish", str(root), str(staged)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: list[subprocess.Popen[str]] = []
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"

    def close(self) -> None:
        """The first process ends with its input, and the kernel ends all others of its tree."""
        self._keeper.communicate()
        for process in self._started:
            process.communicate()

    def argv(self, script: str) -> list[str]:
        namespaces = f"/proc/{self._keeper.pid}/ns"
        enter = [f"--{kind}={namespaces}/{file}" for kind, file in _NAMESPACES.items()]
        return ["nsenter", *enter, "chroot", str(self.root), "sh", "-c", script]

    def start(self, script: str) -> subprocess.Popen[str]:
        self._started.append(
            subprocess.Popen(
                self.argv(script),
                env=_ENVIRONMENT,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return self._started[-1]

    def run(self, script: str, *, succeeds: bool = True) -> str:
        """The output of the script, both streams."""
        done = subprocess.run(
            self.argv(script),
            check=False,
            env=_ENVIRONMENT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=100,
        )
        assert (done.returncode == 0) is succeeds, done.stdout
        return done.stdout

    def path(self, path: str) -> Path:
        """A file of the root filesystem, seen from outside; what is mounted in the room cannot be seen so."""
        return self.root / path.lstrip("/")

    def report(self, step: str) -> dict[str, str]:
        """The line of the step in the report on the boot volume."""
        report: dict[str, Any] = json.loads(self.run("cat /boot/firmware/pimu-report.json"))
        assert report["node"] == "node-003"
        found: dict[str, str] = report["steps"][step]
        return found


_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--propagation", "private")
_NAMESPACES = {"mount": "mnt", "net": "net", "pid": "pid_for_children"}
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8"}


@contextmanager
def open_room(root: Path, staged: Path) -> Iterator[Room]:
    root.mkdir(exist_ok=True)
    room = Room(root, staged)
    try:
        yield room
    finally:
        room.close()


@contextmanager
def attached(image: Path) -> Iterator[str]:
    """The image as a loop device with its partitions. partx, because not every kernel reads an MBR by itself."""
    argv = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["partx", "--add", device], check=False, capture_output=True)
    try:
        yield device
    finally:
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", device], check=True)


@contextmanager
def mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", device, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def sparse_file(path: Path, size: int) -> Path:
    with path.open("ab") as file:
        file.truncate(size)
    return path


@contextmanager
def filesystem(image: Path, size: int, folder: Path) -> Iterator[Path]:
    """An ext4 filesystem of `size` bytes, mounted at `folder`."""
    subprocess.run(["mkfs.ext4", "-q", "-F", sparse_file(image, size)], check=True)
    with attached(image) as device, mounted(device, folder):
        yield folder
