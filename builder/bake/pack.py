"""Make a layer of a finished tree: a reproducible tar by the rules of OCI image layers (sorted, numeric owners, PAX,
`.wh.` whiteouts). Times are at most the epoch. Files that differ from bake to bake are left out.
"""

from __future__ import annotations

import filecmp
import fnmatch
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from builder.bake.elf import is_foreign
from builder.errors import BuildError

WHITEOUT = ".wh."

_LEFTOVERS = (
    "dev/*",
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/machine-id",
    "etc/mtab",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/ssh/ssh_host_*",
    "etc/subgid-",
    "etc/subuid-",
    "proc/*",
    "root/.bash_history",
    "root/.cache",
    "root/.cache/*",
    "run/*",
    "sys/*",
    "tmp/*",
    "var/cache/apt/**",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/cache/man/*",
    "var/lib/apt/lists/**",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/lib/ucf/cache:*",
    "var/log/**",
    "var/tmp/*",
)


def is_leftover(name: str, *, is_dir: bool) -> bool:
    """Whether the file `name` (relative to the root) depends on this bake and not on its packages.

    The pattern `FOLDER/*` matches everything below the folder. `FOLDER/**` does not match folders, because daemons
    expect theirs in /var/log.
    """
    for pattern in _LEFTOVERS:
        folder, _, stars = pattern.rpartition("/")
        if stars in ("*", "**"):
            if name.startswith(f"{folder}/") and not (is_dir and stars == "**"):
                return True
        elif fnmatch.fnmatchcase(name, pattern):
            return True
    return False


def pack(
    tree: Path, lower: Path | None, out: Path, *, architecture: str, epoch: int, uppers: Sequence[Path] | None = None
) -> None:
    """Write the layer with the changes from `lower` (None: an empty tree) to `tree`.

    If `tree` is an overlay of `uppers` on `lower`, only paths in `uppers` are compared.
    Raises BuildError when the layer would hold a program of another architecture.
    """
    foreign: list[str] = []
    inodes: dict[tuple[int, int], str] = {}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(_changed(tree, lower, uppers), key=os.fsencode):
            path = tree / name
            if not os.path.lexists(path):
                parent, _, base = name.rpartition("/")
                tar.addfile(_header(f"{parent}/{WHITEOUT}{base}".lstrip("/"), epoch))
                continue
            with _opened(path) as file:
                info = _describe(name, path, epoch, inodes)
                if file is not None and is_foreign(name, os.pread(file.fileno(), 20, 0), architecture):
                    foreign.append(name)
                tar.addfile(info, file if info.isreg() else None)
    if foreign:
        raise BuildError(
            f"{len(foreign)} files are programs of another machine than {architecture}: {', '.join(foreign[:5])}",
            hint="a maintainer script has copied a program of the build host; name its package in the report",
        )


def _changed(tree: Path, lower: Path | None, uppers: Sequence[Path] | None) -> Iterator[str]:
    """Relative names of the changed and removed paths."""

    def may_differ(name: str) -> bool:
        return uppers is None or any(os.path.lexists(upper / name) for upper in uppers)

    common = {""}  # folders in both trees; a link in `lower` is none, because it leads into another folder
    for folder, folders, files in os.walk(tree):
        here = os.path.relpath(folder, tree)
        prefix = "" if here == "." else f"{here}/"
        old = lower / prefix if lower is not None and prefix in common else None
        names = {*folders, *files}
        touched = [name for name in (*folders, *files) if may_differ(f"{prefix}{name}")]
        kept = [name for name in touched if not is_leftover(f"{prefix}{name}", is_dir=_is_folder(tree / prefix / name))]
        folders[:] = [name for name in folders if name in kept]
        yield from (f"{prefix}{name}" for name in kept if old is None or not _same(tree / prefix / name, old / name))
        if old is not None:
            common.update(f"{prefix}{name}/" for name in folders if _is_folder(old / name))
            gone = {path.name for path in old.iterdir()} - names
            yield from (f"{prefix}{name}" for name in gone if not is_leftover(f"{prefix}{name}", is_dir=False))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _same(new: Path, old: Path) -> bool:
    if not os.path.lexists(old):
        return False
    a, b = new.lstat(), old.lstat()
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return False
    if stat.S_ISLNK(a.st_mode):
        return new.readlink() == old.readlink()
    if stat.S_ISREG(a.st_mode):
        return a.st_size == b.st_size and _xattrs(new) == _xattrs(old) and filecmp.cmp(new, old, shallow=False)
    return stat.S_ISDIR(a.st_mode) or a.st_rdev == b.st_rdev


def _header(name: str, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime = epoch
    return info


def _describe(name: str, path: Path, epoch: int, inodes: dict[tuple[int, int], str]) -> tarfile.TarInfo:
    facts = path.lstat()
    info = _header(name, epoch)
    info.mode, info.uid, info.gid = stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid
    if stat.S_ISDIR(facts.st_mode):
        info.type = tarfile.DIRTYPE
        return info
    info.mtime = min(int(facts.st_mtime), epoch)
    if stat.S_ISLNK(facts.st_mode):
        info.type, info.linkname, info.mtime = tarfile.SYMTYPE, os.readlink(path), epoch  # noqa: PTH115  (pathlib normalises)
    elif stat.S_ISREG(facts.st_mode):
        first = inodes.setdefault((facts.st_dev, facts.st_ino), name) if facts.st_nlink > 1 else name
        if first != name:
            info.type, info.linkname = tarfile.LNKTYPE, first
        else:
            info.size = facts.st_size
            info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in _xattrs(path).items()}
    else:
        raise BuildError(f"is neither file, directory nor symlink (mode {facts.st_mode:o})", where=f"/{name}")
    return info


def _xattrs(path: Path) -> dict[str, str]:
    """A file's capabilities. They are read in the namespace that wrote them, so that builds with and without root give
    the same bytes."""
    names = [name for name in os.listxattr(path, follow_symlinks=False) if name == "security.capability"]
    return {name: os.getxattr(path, name).decode("utf-8", "surrogateescape") for name in names}


class _opened:  # noqa: N801  (a context manager that reads as a verb)
    """A context manager with the open file for a regular file, or None for anything else."""

    def __init__(self, path: Path) -> None:
        self.file: BinaryIO | None = path.open("rb") if stat.S_ISREG(path.lstat().st_mode) else None

    def __enter__(self) -> BinaryIO | None:
        return self.file

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
