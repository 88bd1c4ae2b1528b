"""The mounts of a bake, inside its sandbox. They end with the mount namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.errors import BuildError
from builder.host.run import run

TOOLS = ("mount", "umount")

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

# Linux's overlayfs documentation: the first three would store facts of the build host in xattrs, and so in a layer.
# volatile: dpkg syncs several times per package, and nobody needs this tree after a power cut.
_OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off,volatile"


def in_user_namespace() -> bool:
    """Whether we are in a user namespace. The initial one maps all 2^32 - 1 ids to themselves (user_namespaces(7))."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def workroom(work: Path, needed: int) -> Path:
    """A folder for trees of about `needed` bytes. It is in memory if three times that is free, because memory is faster
    and is freed with the namespace; else it is `work` itself.

    In a user namespace the overlay stores its marks in user xattrs. tmpfs has these only since Linux 6.6.
    """
    if available_memory() < 3 * needed:
        return work
    room = work / "memory"
    room.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"mode=755,nr_inodes=2m,size={2 * needed}", "tmpfs", room])
    if in_user_namespace() and not _keeps_user_xattrs(room):
        run(["umount", room])
        return work
    return room


def _keeps_user_xattrs(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.pimu", b"")
    except OSError:
        return False
    os.removexattr(folder, "user.pimu")
    return True


def available_memory() -> int:
    """Bytes that are available without swapping (proc_meminfo(5)), within the limit of our control group
    (cgroups(7))."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(free, int(text)) if text.isdecimal() else free


@contextmanager
def overlay(work: Path, lowers: Sequence[Path], upper: Path) -> Iterator[Path]:
    """The tree of `lowers` (topmost first), mounted at `work`/merged. Writes go to `upper`.

    mount gets paths relative to `work`, because it splits its options at commas and colons. Raises BuildError for a
    relative path with such a character.
    """
    merged, scratch = work / "merged", work / f"{upper.name}.work"
    for folder in (merged, scratch, upper):
        folder.mkdir(exist_ok=True)
    relative = [os.fspath(path.relative_to(work)) for path in (*lowers, upper, scratch)]
    if any(set(name) & set(",:\\") for name in relative):
        raise BuildError("overlay names with commas or colons", where=str(work))
    layers = f"lowerdir={':'.join(relative[:-2])},upperdir={relative[-2]},workdir={relative[-1]}"
    options = f"{layers},{_OPTIONS}" + (",userxattr" if in_user_namespace() else "")
    run(["mount", "-t", "overlay", "overlay", "-o", options, merged], cwd=work)
    try:
        yield merged
    finally:
        run(["umount", merged])


@contextmanager
def machine(root: Path, boot: Path | None, boot_mount: str | None) -> Iterator[None]:
    """Mount /proc, /dev, /run and /tmp of a tree, and its boot volume: raspi-firmware needs a mount point there."""
    mounted: list[Path] = []

    def mount(target: str, *words: str | Path) -> Path:
        path = root / target
        path.mkdir(parents=True, exist_ok=True)
        run(["mount", *words, path])
        mounted.append(path)
        return path

    try:
        mount("proc", "-t", "proc", "proc")
        device = mount("dev", "-t", "tmpfs", "-o", "mode=755", "tmpfs")
        for name in _DEVICES:
            (device / name).touch()
            run(["mount", "--bind", f"/dev/{name}", device / name])
            mounted.append(device / name)
        for link, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            (device / link).symlink_to(target)
        (device / "shm").mkdir()
        mount("run", "-t", "tmpfs", "-o", "mode=755", "tmpfs")
        mount("tmp", "-t", "tmpfs", "-o", "mode=1777", "tmpfs")
        if boot is not None and boot_mount is not None:
            mount(boot_mount.lstrip("/"), "--bind", boot)
        yield
    finally:
        for path in reversed(mounted):
            run(["umount", path])
