"""The one door to libguestfs: a small virtual machine that looks into images, so that the host's kernel never does.

An image is only ever read here (format raw, which is said and not guessed: CVE-2010-3851; no network: CVE-2018-11806).
The final bytes are never written through a mount, because no two mounts write the same.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from builder.errors import BuildError, DownloadError, MissingToolError, PimuError
from builder.image_layout import HINT, require_layout
from builder.model.edits import Volume
from builder.model.manifest import DiskFacts
from builder.model.progress import Progress
from builder.model.settings import Base
from builder.run import run

VOLUMES: tuple[Volume, ...] = ("boot", "root")
_DISK = "/dev/sda"
_DEVICES = {"boot": "/dev/sda1", "root": "/dev/sda2"}
_FILESYSTEMS = {"boot": "vfat", "root": "ext4"}
_MEMORY_MIB = 512
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
            guest.add_drive_opts(os.fspath(self._image), format="raw", readonly=True)
            guest.launch()
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
                self._ask("shutdown")  # says what close() would swallow
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
        """Type of a volume's filesystem as blkid calls it, "" when there is none."""
        return str(self._ask("vfs_type", _DEVICES[volume]))

    @contextmanager
    def mounted(self, volume: Volume) -> Iterator[None]:
        """Mount one volume as `/`, read-only and as the type that it must have: a forged one is not even tried."""
        self._ask("mount_vfs", "ro", _FILESYSTEMS[volume], _DEVICES[volume], "/")
        try:
            yield
        finally:
            self._ask("umount", "/")

    def tar_out(self, directory: str, archive: Path) -> None:
        """Write a directory of the mounted volume as a tar: numeric owners, extended attributes."""
        self._ask("tar_out", directory, os.fspath(archive), numericowner=True, xattrs=True)

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

    def _ask(self, call: str, *words: object, **options: object) -> Any:
        try:
            return getattr(self._guest, call)(*words, **options)
        except RuntimeError as error:
            raise BuildError(str(error), where=str(self._image)) from error


def import_layers(image: Path, base: Base, directory: Path, progress: Progress, where: str) -> tuple[Path, Path]:
    """Write both volumes of a published image as `directory`/boot.tar and root.tar, and return the two paths.

    Raises DownloadError, at `where`, when the image is not what the base's profile says, or its volumes cannot be read.
    """
    require_layout(image, base, where)
    archives = directory / "boot.tar", directory / "root.tar"
    with Appliance(image, progress) as appliance:
        for volume, archive in zip(VOLUMES, archives, strict=True):
            progress.step("import", f"read the {volume} volume of {image.name}")
            found, wanted = appliance.filesystem(volume), _FILESYSTEMS[volume]
            if found != wanted:
                what = f"a filesystem of type {found}" if found else "no filesystem"
                raise DownloadError(f"the {volume} volume holds {what}, not {wanted}", where=where, hint=HINT)
            try:
                with appliance.mounted(volume):
                    appliance.tar_out("/", archive)
            except BuildError as broken:
                raise DownloadError(f"the {volume} volume cannot be read: {broken.message}", where=where) from broken
    return archives


@functools.cache
def kvm_usable() -> bool:
    """Whether a virtual CPU really runs: /dev/kvm may be there and QEMU abort on it, and libguestfs does not fall back.

    Started halted and told to quit; the CPU model is libguestfs's own. Takes 50 ms.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    machine = platform.machine()
    board = ["-M", "virt"] if machine == "aarch64" else []
    argv = [f"qemu-system-{machine}", *board, "-accel", "kvm", "-cpu", "max", "-nodefaults", "-display", "none", "-S"]
    try:
        return run([*argv, "-monitor", "stdio"], input=b"quit\n", timeout=20, check=False).returncode == 0
    except PimuError:
        return False  # no QEMU, or one that hangs


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
