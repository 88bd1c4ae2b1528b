"""The one door to libguestfs: a small virtual machine that looks into images, so that the host's kernel never does.

An image is only ever read here (format raw, which is said and not guessed: CVE-2010-3851; no network: CVE-2018-11806).
The final bytes are never written through a mount, because no two mounts write the same.
"""

from __future__ import annotations

import functools
import os
import platform
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from builder import limits
from builder.errors import BuildError, MissingToolError, PimuError
from builder.host.run import run
from builder.machines.confined import SANDBOX
from builder.machines.pouring import Pouring
from builder.model.edits import Volume
from builder.model.manifest import DiskFacts
from builder.model.progress import Progress

TOOLS = ("qemu-system-aarch64", "qemu-system-x86_64")

VOLUMES: tuple[Volume, ...] = ("boot", "root")
_DISK, _LABEL = "/dev/sda", "image"
_NODE = f"/dev/disk/guestfs/{_LABEL}"
"""The disk's node inside (guestfs(3), add_drive, `label`). libguestfs translates /dev/sda in its calls, but not in the
words of a shell; and a loaded kernel may find the disk of the appliance itself first, and call it sda."""

FILESYSTEMS = {"boot": "vfat", "root": "ext4"}
_MEMORY_MIB = 512
_KVM_SECONDS = 6.0  # ten times what a kernel needs with KVM
_DISK_SIGNATURE = 440  # offset in the MBR, 4 bytes, little-endian

FileType = Literal["file", "dir", "link", "other"]
_TYPES: dict[int, FileType] = {0o100000: "file", 0o040000: "dir", 0o120000: "link"}


@dataclass(frozen=True, slots=True)
class Partition:
    """Bytes; `mbr_type` is the type byte of the table (0x0c FAT32, 0x83 Linux)."""

    number: int
    start: int
    size: int
    mbr_type: int


@dataclass(frozen=True, slots=True)
class Status:
    """lstat(2) of a path: `mode` is the permission bits."""

    type: FileType
    mode: int
    uid: int
    gid: int
    size: int


class Appliance:
    """Context manager around a running appliance with the image as its disk; launching takes 10 to 20 s without KVM.

    Raises MissingToolError when libguestfs, its bindings or a kernel for it are absent, BuildError for its failures.
    """

    def __init__(self, image: Path, progress: Progress) -> None:
        self._image = image
        self._progress = progress
        self._guest: Any = None

    def __enter__(self) -> Self:
        backend = [] if kvm_usable() else ["force_tcg"]
        self._progress.step("appliance", f"launch libguestfs {'without KVM ' if backend else ''}on {self._image.name}")
        self._guest = guest = _bindings().GuestFS(python_return_dict=True)
        try:
            guest.set_backend("direct")
            guest.set_backend_settings(backend)
            guest.set_network(False)
            guest.set_memsize(_MEMORY_MIB)
            guest.add_drive_opts(os.fspath(self._image), format="raw", readonly=True, label=_LABEL)
            guest.config("-sandbox", SANDBOX)
            guest.launch()
            self._process = guest.get_pid()
        except RuntimeError as error:
            guest.close()
            appliance_kernel()  # the usual reason, and said more clearly there
            raise BuildError(
                f"the libguestfs appliance does not start: {error}", hint="libguestfs-test-tool shows what happens"
            ) from error
        except BaseException:
            guest.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self._ask("shutdown")  # close() would swallow its error
        finally:
            self._guest.close()

    def partitions(self) -> tuple[Partition, ...]:
        return tuple(
            Partition(
                number=part["part_num"],
                start=part["part_start"],
                size=part["part_size"],
                mbr_type=self._ask("part_get_mbr_id", _DISK, part["part_num"]),
            )
            for part in self._ask("part_list", _DISK)
        )

    def disk_facts(self) -> DiskFacts:
        """Raises BuildError when the disk has not the two partitions of a Pi."""
        partitions = self.partitions()
        if len(partitions) != len(VOLUMES):
            raise BuildError(f"has {len(partitions)} partitions, not a FAT and an ext4", where=str(self._image))
        boot, root = partitions
        signature = int.from_bytes(self._ask("pread_device", _DISK, 4, _DISK_SIGNATURE), "little")
        return DiskFacts(
            boot_start=boot.start,
            boot_size=boot.size,
            root_start=root.start,
            root_size=root.size,
            disk_id=f"0x{signature:08x}",
        )

    def filesystem(self, volume: Volume) -> str:
        """Type of a volume's filesystem as blkid(8) calls it, "" when there is none."""
        start, size = self._place(volume)
        # blkid ends with 2 where it finds nothing.
        return self.shell(f"blkid -p -O {start} -S {size} -s TYPE -o value {_NODE} || test $? = 2").strip()

    def _place(self, volume: Volume) -> tuple[int, int]:
        """Start and size in bytes. Each use of a volume names the whole disk: the nodes of partitions are gone for a
        moment when a program closes the disk and udev makes the kernel read the table once more."""
        facts = self.disk_facts()
        return (facts.boot_start, facts.boot_size) if volume == "boot" else (facts.root_start, facts.root_size)

    @contextmanager
    def mounted(self, volume: Volume) -> Iterator[None]:
        """Mount one volume as `/`, read-only and as the type that it must have: a forged one is not even tried."""
        start, size = self._place(volume)
        self._ask("mount_vfs", f"ro,loop,offset={start},sizelimit={size}", FILESYSTEMS[volume], _DISK, "/")
        try:
            yield
        except BaseException:
            with suppress(BuildError):  # it may be ended already, and the first error is the one to tell
                self._ask("umount", "/")
            raise
        self._ask("umount", "/")

    def tar_out(self, directory: str, archive: Path, *, limit: int) -> None:
        """Write a directory of the mounted volume as a tar: numeric owners, extended attributes.

        Raises BuildError when the tar has more than `limit` bytes (a file may be a hole of terabytes), or the appliance
        does not go on: it is ended then.
        """
        pouring = Pouring(
            archive,
            limit=limit,
            silence=limits.VOLUME_SILENCE_SECONDS,
            total=limits.VOLUME_SECONDS,
            stop=self._end,
        )
        try:
            with pouring:
                self._ask("tar_out", directory, pouring.path, numericowner=True, xattrs=True)
        except BuildError as error:
            if not pouring.fault:
                raise
            raise BuildError(pouring.fault, where=str(self._image)) from error
        if pouring.fault:
            raise BuildError(pouring.fault, where=str(self._image))

    def _end(self) -> None:
        os.kill(self._process, signal.SIGKILL)

    def status(self, path: str) -> Status | None:
        """None when there is nothing at `path`, or no directory above it."""
        try:
            found = self._ask("lstatns", path)
        except BuildError as error:
            if error.message.endswith(("No such file or directory", "Not a directory")):
                return None
            raise
        mode = found["st_mode"]
        return Status(
            type=_TYPES.get(mode & 0o170000, "other"),
            mode=mode & 0o7777,
            uid=found["st_uid"],
            gid=found["st_gid"],
            size=found["st_size"],
        )

    def readlink(self, path: str) -> str:
        return str(self._ask("readlink", path))

    def sha256(self, path: str) -> str:
        """Hashed inside: 40 ms a file, where fetching its content takes 170 ms."""
        return str(self._ask("checksum", "sha256", path))

    def debugfs(self, requests: str, start: int) -> str:
        """The answer of the appliance's debugfs(8), on the volume at byte `start`, to these requests, one a line."""
        return self.shell(f"printf %s {shlex.quote(requests)} | debugfs -f - '{_NODE}?offset={start}' 2>&1")

    def e2fsck(self, start: int) -> str:
        """Faults that the appliance's e2fsck(8) finds in the volume at byte `start`, "" without one."""
        said, _, status = self.shell(f"e2fsck -fn '{_NODE}?offset={start}' 2>&1; echo $?").rstrip().rpartition("\n")
        return "" if status == "0" else f"{status}: {said}"

    def shell(self, command: str) -> str:
        """Run a command in the appliance's shell (guestfs(3), guestfs_debug: `sh`)."""
        return str(self._ask("debug", "sh", [command]))

    def _ask(self, call: str, *words: object, **options: object) -> Any:
        try:
            return getattr(self._guest, call)(*words, **options)
        except RuntimeError as error:
            raise BuildError(str(error), where=str(self._image)) from error


@functools.cache
def kvm_usable() -> bool:
    """Whether a virtual machine really runs: /dev/kvm may be there and QEMU abort on it, or every kernel hang on it
    (nested virtualization). libguestfs does not fall back.

    The appliance's kernel is started, and ends as it finds no root: under a second. The CPU model is libguestfs's own.
    Without a kernel there is no appliance to ask for.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    machine = platform.machine()
    board, console = (["-M", "virt"], "ttyAMA0") if machine == "aarch64" else ([], "ttyS0")
    argv = [f"qemu-system-{machine}", *board, "-accel", "kvm", "-cpu", "max", "-m", "256", "-nodefaults"]
    words = f"console={console} panic=-1"
    argv += ["-display", "none", "-no-reboot", "-serial", "stdio", "-append", words, "-kernel"]
    try:
        said = run([*argv, appliance_kernel()], timeout=_KVM_SECONDS, check=False).stdout
    except PimuError:
        return False  # no QEMU, no kernel, or one that hangs
    return b"Kernel panic" in said


def appliance_kernel() -> Path:
    """The kernel that libguestfs builds its appliance from: /boot/vmlinuz-VERSION with its modules, and readable.

    Raises MissingToolError (a container has no kernel; Ubuntu's is readable by root only).
    """
    kernels = [path for path in Path("/boot").glob("vmlinu?-*") if _modules(path).is_dir()]
    readable = [path for path in kernels if os.access(path, os.R_OK)]
    if not kernels:
        machine = {"x86_64": "cloud-amd64", "aarch64": "cloud-arm64"}.get(platform.machine(), platform.machine())
        raise MissingToolError(
            "there is no kernel that libguestfs could start its appliance with",
            where="/boot",
            hint=f"sudo apt-get install linux-image-{machine}  (it is used as a file, nothing has to reboot)",
        )
    if not readable:
        raise MissingToolError(
            "the kernel that libguestfs needs for its appliance is readable by root only",
            where=str(kernels[0]),
            hint=f"sudo chmod 0644 {kernels[0]}",
        )
    return max(readable, key=lambda path: path.stat().st_mtime)


def _modules(kernel: Path) -> Path:
    return Path("/lib/modules", kernel.name.partition("-")[2])


def _bindings() -> Any:
    try:
        import guestfs  # noqa: PLC0415  (not on PyPI, and plan must work without it)
    except ImportError as error:
        raise MissingToolError(
            "the Python bindings of libguestfs are not installed",
            hint="sudo apt-get install python3-guestfs; the venv must be made by /usr/bin/python3 with "
            "--system-site-packages (`make image` does both)",
        ) from error
    return guestfs
