"""The files of an image that blocks belong to, and the files behind the chunks by which two images differ."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from builder.fs import ext4, fat
from builder.host.run import run
from builder.model.manifest import CHUNK_SIZE, DiskFacts

TOOLS = ("debugfs", "mdir")

BLOCK = 512
"""As small as a cluster of a FAT may be."""
_LINE = 500
"""debugfs reads lines of 8191 bytes from its script."""
_LOOKED_AT = 4000
"""Number of blocks, at most about. In a role's image that was built anew nearly all blocks differ, and each question to
debugfs reads all inodes."""


def differing_blocks(a: Path, b: Path, chunks: Sequence[int]) -> list[int]:
    """Offsets of blocks of BLOCK bytes that differ within these chunks, given by number: about _LOOKED_AT, evenly."""
    each = max(1, _LOOKED_AT // max(1, len(chunks)))
    found: list[int] = []
    with a.open("rb") as left, b.open("rb") as right:
        for chunk in chunks[:: -(-len(chunks) // _LOOKED_AT) or 1]:
            left.seek(chunk * CHUNK_SIZE)
            right.seek(chunk * CHUNK_SIZE)
            one, other = left.read(CHUNK_SIZE), right.read(CHUNK_SIZE)
            starts = range(0, max(len(one), len(other)), BLOCK)
            changed = [start for start in starts if one[start : start + BLOCK] != other[start : start + BLOCK]]
            step = -(-len(changed) // each) or 1
            found += [chunk * CHUNK_SIZE + start for start in islice(changed, 0, None, step)]
    return found


def owners(image: Path, disk: DiskFacts, offsets: Iterable[int]) -> dict[int, str]:
    """`root:/path` or `boot:/path` of the file at each of these offsets of a raw image. A name in brackets stands for
    what is in no file."""
    offsets = sorted(offsets)
    root_end, boot_end = disk.root_start + disk.root_size, disk.boot_start + disk.boot_size
    in_root = [offset for offset in offsets if disk.root_start <= offset < root_end]
    in_boot = [offset for offset in offsets if disk.boot_start <= offset < boot_end]
    named = dict.fromkeys(offsets, "(outside the partitions)")
    named |= dict.fromkeys(in_root, "root:(file system)") | dict.fromkeys(in_boot, "boot:(file system)")
    named |= {offset: f"root:{path}" for offset, path in ext4_owners(image, disk.root_start, in_root).items()}
    return named | _fat_paths(image, disk.boot_start, in_boot)


def ext4_owners(image: Path, start: int, offsets: Iterable[int]) -> dict[int, str]:
    """By offset, the path of the file there, where there is one, in the ext4 volume at byte `start`."""
    size = _block_size(image, start)
    block = {offset: (offset - start) // size for offset in offsets if offset >= start}
    paths = _ext4_paths(image, start, set(block.values()))
    return {offset: paths[number] for offset, number in block.items() if number in paths}


def _block_size(image: Path, start: int) -> int:
    """Bytes: s_log_block_size (Linux, Documentation/filesystems/ext4/super.rst), of which 6 is the most."""
    with image.open("rb") as file:
        file.seek(start + 1024 + 0x18)
        return 1024 << min(int.from_bytes(file.read(4), "little"), 6)


def _ext4_paths(image: Path, start: int, blocks: set[int]) -> dict[int, str]:
    """By block. debugfs(8): icheck gives the inode of a block, ncheck the path of an inode."""
    found = re.findall(r"^(\d+)\t(\d+)$", _asked(image, start, "icheck", blocks), re.MULTILINE)
    inodes = {int(block): int(inode) for block, inode in found}
    listed = re.findall(r"^(\d+)\t(/.*)$", _asked(image, start, "ncheck", set(inodes.values())), re.MULTILINE)
    paths = {int(inode): path.replace("//", "/") for inode, path in listed}
    return {block: paths[inode] for block, inode in inodes.items() if inode in paths}


def _asked(image: Path, start: int, question: str, numbers: set[int]) -> str:
    if not numbers:
        return ""
    words = sorted(map(str, numbers))
    lines = [f"{question} {' '.join(words[at : at + _LINE])}\n" for at in range(0, len(words), _LINE)]
    shown = run(["debugfs", "-f", "-", ext4.volume(image, start)], input="".join(lines).encode())
    return shown.stdout.decode(errors="backslashreplace")


def _fat_paths(image: Path, start: int, offsets: Sequence[int]) -> dict[int, str]:
    if not offsets:
        return {}
    listed = run(["mdir", "-b", "-s", "-a", "-i", f"{image}@@{start}", "::/"]).stdout.decode(errors="backslashreplace")
    named = {}
    for name in (line.removeprefix("::/") for line in listed.splitlines() if not line.endswith("/")):
        for first, end in fat.content_extents(image, start, [name]):
            for offset in offsets[bisect.bisect_left(offsets, first - BLOCK + 1) : bisect.bisect_left(offsets, end)]:
                named[offset] = f"boot:/{name}"
    return named
