"""Read the block devices and their use from the kernel. A disk is safe to overwrite only if nothing uses it, so all
uses are read."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from builder import limits
from builder.flash import parse
from builder.host.run import run
from builder.model.disks import BlockDevice, Mount, Protected, Survey, Sysfs, Target, printable

_BY_NUMBER = Path("/sys/dev/block")
_BY_ID = Path("/dev/disk/by-id")
_BTRFS = Path("/sys/fs/btrfs")
_A_LOOK = 0.5  # seconds
# A disk that is mounted in another mount namespace is in use too. The desktop's mounts are in that of init.
_MOUNTS = (Path("/proc/self/mountinfo"), Path("/proc/1/mountinfo"))


def look() -> Survey:
    """All block devices, by one call of lsblk, with the facts that lsblk lacks. Raises BuildError when a part cannot be
    read."""
    aliases = _aliases()
    said = run(
        ["lsblk", "--json", "--bytes", "--paths", "--tree", "--output", parse.COLUMNS],
        timeout=limits.DISK_PROBE_SECONDS,
    )
    disks = parse.lsblk(said.text, lambda number: _sysfs(number, aliases))
    swaps = Path("/proc/swaps")
    return Survey(
        disks=disks,
        mounts=tuple(_mounts(disks)),
        swaps={_number_of(path): printable(path) for path in parse.swaps(swaps.read_text())} if swaps.exists() else {},
        writers=_writers(),
    )


def target_of(path: Path) -> Target:
    """The device at `path`. A link (by-id) is resolved only once, so that the checked device is also the one that is
    opened."""
    real = Path(os.path.realpath(path))
    try:
        status = real.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Target(str(path), "absent")
    if not stat.S_ISBLK(status.st_mode):
        return Target(str(path), "other")
    return Target(str(real), "block", number(status.st_rdev))


def protect(things: Mapping[str, Path], disks: Sequence[BlockDevice]) -> tuple[Protected, ...]:
    """The devices that hold these files and folders. One that does not exist is left out."""
    mounts = {line.id: line for line in parse.mountinfo(_MOUNTS[0].read_text(errors="surrogateescape"))}
    return tuple(
        Protected(what, printable(os.path.realpath(path)), _devices(mounts[_mount_id(path)], disks))
        for what, path in things.items()
        if path.exists()
    )


def number(device: int) -> str:
    """`major:minor` of a st_rdev or st_dev."""
    return f"{os.major(device)}:{os.minor(device)}"


def _sysfs(device: str, aliases: Mapping[str, Sequence[str]]) -> Sysfs:
    folder = _BY_NUMBER / device
    diskseq = _attribute(folder / "diskseq")
    return Sysfs(
        holders=_holders(folder / "holders"),
        # A multipath NVMe is in virtual/ too, but not in virtual/block/.
        virtual=str(folder.resolve()).startswith("/sys/devices/virtual/block/"),
        backing_file=printable(_attribute(folder / "loop/backing_file").rstrip("\n")),
        diskseq=int(diskseq) if diskseq else None,
        by_id=tuple(sorted(aliases.get(device, ()))),
    )


def _holders(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except FileNotFoundError:
        return ()


def _attribute(path: Path) -> str:
    """The content of a file in /sys; "" when the device lacks it or has gone: a disk may be unplugged during the
    survey."""
    try:
        return path.read_text(errors="replace")
    except OSError as gone:
        if gone.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            return ""
        raise


def _aliases() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for link in _BY_ID.iterdir() if _BY_ID.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # udev is at work
            found.setdefault(number(link.stat().st_rdev), []).append(printable(link.name))
    return found


def _mounts(disks: Sequence[BlockDevice]) -> Iterator[Mount]:
    seen = set()
    for file in _MOUNTS:
        with contextlib.suppress(PermissionError, FileNotFoundError):
            for line in parse.mountinfo(file.read_text(errors="surrogateescape")):
                mount = Mount(printable(line.target), line.filesystem, _devices(line, disks))
                if mount not in seen:
                    seen.add(mount)
                    yield mount


def _writers() -> dict[str, tuple[str, ...]]:
    """Programs that have a disk open for writing, by device number. A virtual machine or a dd opens a disk without
    claiming it. Only root sees the processes of other users. Two looks are compared, because losetup and udev open a
    disk for a moment only."""
    found = open_for_writing()
    if not found:
        return {}
    time.sleep(_A_LOOK)
    still = open_for_writing()
    both = {device: names & still.get(device, set()) for device, names in found.items()}
    return {device: tuple(sorted(names)) for device, names in both.items() if names}


def open_for_writing(processes: Path = Path("/proc")) -> dict[str, set[str]]:
    """Names of programs by the block device that they have open for writing. `processes` is /proc."""
    found: dict[str, set[str]] = {}
    for folder in processes.iterdir():
        if not folder.name.isdecimal():
            continue
        for descriptor in _entries(folder / "fd"):
            with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
                if not str(descriptor.readlink()).startswith("/dev/"):
                    continue
                status = descriptor.stat()
                if stat.S_ISBLK(status.st_mode) and _writes(folder / "fdinfo" / descriptor.name):
                    name = f"{(folder / 'comm').read_text(errors='replace').strip()} (process {folder.name})"
                    found.setdefault(number(status.st_rdev), set()).add(printable(name))
    return found


def _entries(folder: Path) -> list[Path]:
    """The folder's entries; an empty list if the process has ended or belongs to another user."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _writes(fdinfo: Path) -> bool:
    flags = next(line.split()[1] for line in fdinfo.read_text().splitlines() if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _devices(line: parse.MountLine, disks: Sequence[BlockDevice]) -> tuple[str, ...]:
    """The numbers of a mount's block devices. For btrfs the line has a number that no device has, and for zfs only the
    name of the pool."""
    if line.filesystem == "btrfs":
        return _btrfs_members(line.source)
    if line.filesystem == "zfs":
        pool = line.source.partition("/")[0]
        everything = (device for disk in disks for device in disk.tree())
        return tuple(
            device.number for device in everything if (device.filesystem, device.label) == ("zfs_member", pool)
        )
    return () if line.number.startswith("0:") else (line.number,)


def _btrfs_members(source: str) -> tuple[str, ...]:
    """Numbers of all devices of the mounted btrfs with the device `source`. If no btrfs has it, the devices of all."""
    groups = [
        {(device / "dev").read_text().strip() for device in folder.iterdir()} for folder in _BTRFS.glob("*/devices")
    ]
    known = _number_of(source)
    numbers = [group for group in groups if known in group] or [*groups, {known}]
    return tuple(sorted(set().union(*numbers) - {""}))


def _number_of(path: str) -> str:
    """The number (major:minor) of a device, or of the disk with a swap file. It is "" if the path is not visible, as in
    a container; then only the exclusive open protects the disk."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return number(status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev)


def _mount_id(path: Path) -> int:
    """The id of the mount that holds `path` (proc_pid_fdinfo(5)). It is exact on btrfs too, unlike st_dev."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    finally:
        os.close(descriptor)
    return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
