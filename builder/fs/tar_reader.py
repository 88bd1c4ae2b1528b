"""Read the members of a tar without trust: it is a layer of ours, or the appliance has read it out of an image.

No name leads out of the tree or hides what it is, nothing but files, directories and links is there, and numbers are in
the ranges of the filesystem that all of it goes into.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"

_PART = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f]{1,255}"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_BROKEN = (tarfile.TarError, ValueError, ArithmeticError, LookupError, OSError, RecursionError)
_IDS = range(2**32 - 1)
_TIMES = range(-(2**31), 2**34)  # ext4's seconds: 32 bits, and two more beside the nanoseconds


class _Header(tarfile.TarInfo):
    def _block(self, count: int) -> int:
        """A negative size would send tarfile round in a circle for ever (CVE-2025-8194)."""
        if count < 0:
            raise tarfile.ReadError("a negative size")
        rounded: int = super()._block(count)  # type: ignore[misc]
        return rounded


def members(archive: Path, skip: Callable[[str], bool] = lambda _: False) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Each member and its path, without a leading slash and "" for the root; a hard link's target is such a path too.
    A path for which `skip` is true is left out, whatever its type.

    Raises BuildError, at `archive`: damaged, or a member that no system of ours has.
    """
    length, seen = archive.stat().st_size, set()
    for member in _headers(archive):
        path = _path(member.name)
        if path is None:
            raise BuildError(f"{member.name!r} is not a name for a file of the Pi", where=str(archive))
        if skip(path):
            continue
        fault = "is there twice" if path in seen else _fault(member, length)
        if fault:
            raise BuildError(f"{path or '/'} {fault}", where=str(archive))
        seen.add(path)
        yield path, member


def _headers(archive: Path) -> Iterator[tarfile.TarInfo]:
    """tarfile takes rubbish after the first member for the end, and so would lose all that comes behind it."""
    try:
        with tarfile.open(archive, "r:", tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                yield member
            end = tar.offset
        with archive.open("rb") as file:
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"it does not go on at {end}")
    except _BROKEN as broken:
        raise BuildError(f"is not a whole tar: {broken}", where=str(archive)) from broken


def _path(name: str) -> str | None:
    if name in (".", "./"):
        return ""
    name = name.removeprefix("./").removesuffix("/")
    return name if _PATH.fullmatch(name) else None


def _fault(member: tarfile.TarInfo, length: int) -> str:
    if member.uid not in _IDS or member.gid not in _IDS:
        return f"belongs to {member.uid}:{member.gid}"
    if not _TIMES.start <= member.mtime < _TIMES.stop:
        return f"was changed at {member.mtime}"
    if member.islnk():
        target = _path(member.linkname)
        fault = "" if target else f"is a hard link to {member.linkname!r}"
        member.linkname = target or ""
    elif member.issym():
        fault = "" if member.linkname and "\0" not in member.linkname else f"is a link to {member.linkname!r}"
    elif member.isreg() and not member.issparse():
        there = 0 <= member.size <= length - member.offset_data
        fault = "" if there else f"has {member.size} bytes, more than there are"
    else:
        fault = "" if member.isdir() else "is neither file, directory nor link"
    return fault


def is_whiteout(path: str) -> bool:
    return posixpath.basename(path).startswith(_WHITEOUT)


def whiteouts(found: Sequence[tuple[str, tarfile.TarInfo]], layer: Path) -> tuple[set[str], set[str]]:
    """The paths that a layer removes from those below it, and the directories that it empties."""
    gone, emptied = set(), set()
    for path, _ in found:
        folder, name = posixpath.split(path)
        hidden = name.removeprefix(_WHITEOUT)
        if name == _OPAQUE:
            emptied.add(folder)
        elif name != hidden:
            if hidden in ("", ".", "..") or hidden.startswith(_WHITEOUT):
                raise BuildError(f"{path} is a whiteout of nothing", where=str(layer))
            gone.add(posixpath.join(folder, hidden))
    return gone, emptied


class Slice(io.RawIOBase):
    """`size` bytes of a file from `start`, read only."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
