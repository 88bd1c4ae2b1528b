"""FAT volumes inside a disk image (mkfs.fat, mtools). Times are the epoch in UTC: mtools writes local time."""

from __future__ import annotations

import os
import posixpath
import re
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import BuildError
from builder.fs import mbr
from builder.fs.tree import Entry, Tree
from builder.host.run import output, run

TOOLS = ("mcopy", "mdel", "mkfs.fat", "mmd", "mshowfat", "mtype")


def make(
    image: Path, *, start: int, size: int, label: str, volume_id: int, sectors_per_cluster: int | None, fat: int
) -> None:
    """Format `size` bytes at `start`. `--invariant` keeps the clock out of the label's directory entry."""
    cluster = [] if sectors_per_cluster is None else ["-s", str(sectors_per_cluster)]
    run(
        [
            *("mkfs.fat", "--invariant", "-F", str(fat), *cluster, "-i", f"{volume_id:08x}", "-n", label),
            *("--offset", str(start // 512), image, str(size >> 10)),
        ]
    )


def fill(image: Path, start: int, tree: Tree, work: Path) -> None:
    """Write a whole tree into an empty volume, directory by directory, in one order."""
    for path, entry in tree.sorted():
        if entry.kind == "dir":
            run(["mmd", "-i", _volume(image, start), f"::/{path}"], env=_clock(tree.epoch))
    folders: dict[str, list[tuple[str, Entry]]] = {}
    for path, entry in tree.files():
        folders.setdefault(posixpath.dirname(path), []).append((posixpath.basename(path), entry))
    for number, (folder, files) in enumerate(folders.items()):
        staging = work / "fat" / str(number)
        staged = [_staged(staging / _plain(name), entry, tree.epoch) for name, entry in files]
        _copy(image, start, staged, f"{folder}/" if folder else "", tree.epoch)


def make_disk(image: Path, tree: Tree, *, size: int, label: str, volume_id: int, fat: int, work: Path) -> None:
    """A new file of `size` bytes that is one volume, without partitions, and holds the tree."""
    mbr.sparse(image, size)
    make(image, start=0, size=size, label=label, volume_id=volume_id, sectors_per_cluster=None, fat=fat)
    fill(image, 0, tree, work)


def edit(
    image: Path, start: int, changes: Sequence[tuple[str, Entry | None, Entry | None]], work: Path, epoch: int
) -> None:
    """Put entries into a volume: (path, entry that is there, entry that shall be, None to remove).

    On the host each content has a number for a name: a path of the volume may come from a manifest.
    """
    for number, (path, old, new) in enumerate(changes):
        if new is None:
            if old is not None:
                run(["mdel", "-i", _volume(image, start), f"::/{path}"], env=_clock(epoch))
        elif new.kind == "dir":
            if old is None:
                run(["mmd", "-i", _volume(image, start), f"::/{path}"], env=_clock(epoch))
        else:
            staged = _staged(work / f"fat-{number}", new, epoch)
            _copy(image, start, [staged], path, epoch)


def read_file(image: Path, start: int, path: str, limit: int = limits.FAT_FILE) -> bytes:
    """One file of a volume. `path` has no wildcard and no `..` in it; mtype(1) would follow both.

    Raises BuildError when there is none, or it has more than `limit` bytes.
    """
    return output(["mtype", "-i", _volume(image, start), f"::/{path}"], limit=limit, timeout=limits.FAT_FILE_SECONDS)


def content_extents(image: Path, start: int, paths: Sequence[str]) -> list[tuple[int, int]]:
    """Places of these files' contents: offsets in the image of first byte and end of each run of clusters."""
    if not paths:
        return []
    geometry = _geometry(image, start)
    names = [f"::/{path}" for path in paths]
    runs = re.findall(r" <(\d+)(?:-(\d+))?>", run(["mshowfat", "-i", _volume(image, start), *names]).text)
    return [geometry.clusters(int(first), int(last or first)) for first, last in runs]


def allocated(image: Path, start: int, size: int) -> list[tuple[int, int]]:
    """Places in use of a FAT32 volume, as above: its tables and every cluster that is not free (fatgen103: 0 in the
    table, whose upper four bits mean nothing)."""
    geometry = _geometry(image, start)
    with image.open("rb") as file:
        file.seek(geometry.table)
        table = array("I", file.read(geometry.table_size))
    count = min(len(table), (start + size - geometry.data) // geometry.cluster + 2)
    used = [(start, geometry.data)]
    for number in range(2, count):
        if table[number] & 0x0FFFFFFF:
            first, end = geometry.clusters(number, number)
            used[-1:] = [(used[-1][0], end)] if first == used[-1][1] else [used[-1], (first, end)]
    return used


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Offsets in the image and sizes, in bytes, of the first table and of the clusters, the first of which is 2."""

    table: int
    table_size: int
    data: int
    cluster: int

    def clusters(self, first: int, last: int) -> tuple[int, int]:
        return self.data + (first - 2) * self.cluster, self.data + (last - 1) * self.cluster


def _geometry(image: Path, start: int) -> _Geometry:
    with image.open("rb") as file:
        file.seek(start)
        head = file.read(512)
    if len(head) < 512:
        raise BuildError(f"ends before its FAT volume at {start}", where=str(image))
    # fatgen103: BPB_BytsPerSec, BPB_SecPerClus, BPB_RsvdSecCnt, BPB_NumFATs; BPB_FATSz32
    sector, sectors_per_cluster, reserved, fats = struct.unpack_from("<HBHB", head, 11)
    (fat_sectors,) = struct.unpack_from("<I", head, 36)
    return _Geometry(
        table=start + reserved * sector,
        table_size=fat_sectors * sector,
        data=start + (reserved + fats * fat_sectors) * sector,
        cluster=sectors_per_cluster * sector,
    )


def _copy(image: Path, start: int, files: Sequence[Path], target: str, epoch: int) -> None:
    """mcopy(1): several files into a folder, which ends with a slash, or one file to a path."""
    run(["mcopy", "-m", "-o", "-Q", "-i", _volume(image, start), *files, f"::/{target}"], env=_clock(epoch))


def _plain(name: str) -> str:
    """mcopy gives several files the names that they have on the host. Raises BuildError for a path."""
    if name in ("", ".", "..") or "/" in name:
        raise BuildError(f"has {name!r}, which is no file's name", where="the boot volume")
    return name


def _staged(path: Path, entry: Entry, epoch: int) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(entry.read())
    os.utime(path, (epoch, epoch))
    return path


def _volume(image: Path, start: int) -> str:
    return f"{image}@@{start}"


def _clock(epoch: int) -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": str(epoch)}
