"""Read images through libguestfs: a small virtual machine mounts them, so that the host's kernel never does.

Only this module uses libguestfs. It never writes to an image, because no two mounts write the same bytes. The format
raw is given, so that QEMU does not guess it (CVE-2010-3851). The machine has no network (CVE-2018-11806).
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
"""The disk's device node in the appliance (guestfs(3), add_drive, `label`). libguestfs translates /dev/sda in its own
calls, but not in shell commands. Under load the kernel may find the own disk of the appliance first and call it sda."""

FILESYSTEMS = {"boot": "vfat", "root": "ext4"}
_MEMORY_MIB = 512
_KVM_SECONDS = 6.0  # ten times the boot of a kernel with KVM
_DISK_SIGNATURE = 440  # offset in the MBR, 4 bytes, little-endian

FileType = Literal["file", "dir", "link", "other"]
_TYPES: dict[int, FileType] = {0o100000: "file", 0o040000: "dir", 0o120000: "link"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition; `start` and `size` in bytes. `mbr_type` is its type byte in the table (0x0c FAT32, 0x83 Linux)."""

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
    """A context manager around a running appliance with the image as its disk. Without KVM its start takes 10 to 20 s.

    Raises MissingToolError when libguestfs, its Python bindings or a kernel for it are absent, BuildError when
    libguestfs fails.
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
            appliance_kernel()  # its absence is the usual reason, and its error is clearer
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
        """The partitions and the disk signature. Raises BuildError unless the disk has the two partitions of a Pi."""
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
        """The type of a volume's filesystem in blkid(8)'s words, or "" when there is none."""
        start, size = self._place(volume)
        # blkid ends with status 2 when it finds nothing.
        return self.shell(f"blkid -p -O {start} -S {size} -s TYPE -o value {_NODE} || test $? = 2").strip()

    def _place(self, volume: Volume) -> tuple[int, int]:
        """Start and size of a volume, in bytes. Commands use the whole disk with an offset: when a program closes the
        disk, udev makes the kernel read the table again, and the partitions' device nodes are absent for a moment."""
        facts = self.disk_facts()
        return (facts.boot_start, facts.boot_size) if volume == "boot" else (facts.root_start, facts.root_size)

    @contextmanager
    def mounted(self, volume: Volume) -> Iterator[None]:
        """Mount one volume as `/`, read-only and with the expected filesystem type. Another type is never tried."""
        start, size = self._place(volume)
        self._ask("mount_vfs", f"ro,loop,offset={start},sizelimit={size}", FILESYSTEMS[volume], _DISK, "/")
        try:
            yield
        except BaseException:
            with suppress(BuildError):  # the appliance may have ended, and the first error matters
                self._ask("umount", "/")
            raise
        self._ask("umount", "/")

    def tar_out(self, directory: str, archive: Path, *, limit: int) -> None:
        """Write a directory of the mounted volume as a tar, with numeric owners and extended attributes.

        Raises BuildError when the tar has more than `limit` bytes (a sparse file may have terabytes), or when the
        appliance hangs. It is killed then.
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
        """lstat(2) of `path`, or None when there is nothing at `path`."""
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
        """The digest of a file. The appliance computes it in 40 ms; fetching the file takes 170 ms."""
        return str(self._ask("checksum", "sha256", path))

    def debugfs(self, requests: str, start: int) -> str:
        """The output of the appliance's debugfs(8) for `requests`, one a line, on the volume at byte `start`."""
        return self.shell(f"printf %s {shlex.quote(requests)} | debugfs -f - '{_NODE}?offset={start}' 2>&1")

    def e2fsck(self, start: int) -> str:
        """The faults that the appliance's e2fsck(8) finds in the volume at byte `start`; "" if there is none."""
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
    """Whether a virtual machine really runs with KVM. With nested virtualization /dev/kvm may exist, and yet QEMU
    aborts or every kernel hangs. libguestfs does not fall back to emulation.

    The test starts the appliance's kernel with libguestfs's CPU model. The kernel panics because it has no root, in
    less than a second. Without a kernel the answer is False.
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
        return False  # no QEMU, no kernel, or a kernel that hangs
    return b"Kernel panic" in said


def appliance_kernel() -> Path:
    """The kernel from which libguestfs builds its appliance: a readable /boot/vmlinuz-VERSION with modules.

    Raises MissingToolError when there is none: a container has no kernel, and only root can read Ubuntu's.
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
