"""The blocks of an image that its filesystems have allocated, whatever they contain.

Not the holes of the file that it happens to be in: those change with every copy, and a block of zeros in a hole may be
one that a filesystem counts on (bmaptool's README, "zero blocks").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from builder.fs import ext4, fat
from builder.fs.chunks import BLOCK
from builder.model.manifest import DiskFacts, Extent, Extents

TABLES = 1 << 20
"""Bytes at the beginning of a disk where older tables and labels would be found, a GPT's among them."""


def allocated(image: Path, disk: DiskFacts) -> Extents:
    """Ranges of bytes (first, end) of a node's image, or of its metadata alone, that must be on a disk. Raises
    BuildError."""
    root = _between(ext4.free_blocks(image, disk.root_start), disk.root_size // BLOCK)
    return merged(
        [
            (0, TABLES),
            *fat.allocated(image, disk.boot_start, disk.boot_size),
            *((disk.root_start + first * BLOCK, disk.root_start + end * BLOCK) for first, end in root),
        ],
        disk.root_start + disk.root_size,
    )


def _between(free: Iterable[int], end: int) -> Iterator[tuple[int, int]]:
    """First and end of each run of blocks that has no free one in it."""
    first = 0
    for block in (*free, end):
        if block > first:
            yield first, block
        first = block + 1


def merged(extents: Iterable[Extent], size: int) -> Extents:
    """The same bytes in whole blocks: in order, apart, none beyond `size`."""
    result: list[Extent] = []
    for first, last in sorted(extents):
        start, end = first // BLOCK * BLOCK, min(size, -(-last // BLOCK) * BLOCK)
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif start < end:
            result.append((start, end))
    return tuple(result)
