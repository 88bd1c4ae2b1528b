"""The address of an image: sha256 over its 4 MiB chunks. A stamped image differs from its golden image in a delta of a
few blocks, so that only the chunks which these are in are hashed again; a hole is known without reading it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from builder.model.manifest import CHUNK_SIZE, ImageFacts

BLOCK = 4096
Delta = Mapping[int, bytes]
"""Blocks by their offset in bytes."""


def digests(image: Path) -> list[str]:
    """sha256 of every chunk, in order."""
    size = image.stat().st_size
    zeros = _digest(bytes(min(CHUNK_SIZE, size)))
    with image.open("rb", buffering=0) as file:
        data = set(_data_windows(file.fileno(), size, CHUNK_SIZE))
        return [
            zeros
            if number not in data and start + CHUNK_SIZE <= size
            else _digest(os.pread(file.fileno(), CHUNK_SIZE, start))
            for number, start in enumerate(range(0, size, CHUNK_SIZE))
        ]


def is_image(file: Path, facts: ImageFacts) -> bool:
    """Whether every byte of a raw image agrees with these facts."""
    return file.stat().st_size == facts.size and tuple(digests(file)) == facts.chunks


def stamped_digests(golden: Path, known: Sequence[str], delta: Delta) -> list[str]:
    """The digests of `golden`, which are `known`, with the delta applied."""
    result = list(known)
    for number, chunk in stamped(golden, delta).items():
        result[number] = _digest(chunk)
    return result


def amended(golden: Path, delta: Delta, known: Sequence[str], blocks: Delta) -> tuple[Delta, list[str]]:
    """The delta with these blocks in it, and the digests, which are `known` without them."""
    whole, touched = {**delta, **blocks}, {offset // CHUNK_SIZE for offset in blocks}
    near = {offset: block for offset, block in whole.items() if offset // CHUNK_SIZE in touched}
    return dict(sorted(whole.items())), stamped_digests(golden, known, near)


def stamped(golden: Path, delta: Delta) -> dict[int, bytearray]:
    """The chunks of `golden` that the delta is in, by number, with it applied."""
    touched: dict[int, bytearray] = {}
    with golden.open("rb", buffering=0) as file:
        for offset, block in delta.items():
            number, within = divmod(offset, CHUNK_SIZE)
            if number not in touched:
                touched[number] = bytearray(os.pread(file.fileno(), CHUNK_SIZE, number * CHUNK_SIZE))
            touched[number][within : within + len(block)] = block
    return touched


def difference(golden: Path, old: Path, new: Path) -> Delta:
    """The blocks that were changed since `new` was a copy of `old`, an image like `golden` but for holes.

    A block that was a hole is compared with the golden image's: it may have been written with zeros.
    """
    size = old.stat().st_size
    with (
        golden.open("rb", buffering=0) as all_data,
        old.open("rb", buffering=0) as before,
        new.open("rb", buffering=0) as after,
    ):
        held = set(_data_windows(before.fileno(), size, BLOCK))
        filled = set(_data_windows(after.fileno(), size, BLOCK)) - held
        changed = dict(_changed(before.fileno(), after.fileno(), sorted(held)))
        changed.update(_changed(all_data.fileno(), after.fileno(), sorted(filled)))
    return dict(sorted(changed.items()))


def _changed(before: int, after: int, blocks: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Offset and new content of each block, of these numbers, that differs. Neighbours are read at once: most are
    alike."""
    for first, count in _runs(blocks):
        start, length = first * BLOCK, count * BLOCK
        old, new = os.pread(before, length, start), os.pread(after, length, start)
        if old == new:
            continue
        for offset in range(0, len(new), BLOCK):
            block = new[offset : offset + BLOCK]
            if block != old[offset : offset + BLOCK]:
                yield start + offset, block


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First block and number of blocks of each sequence without a gap, a chunk long at most."""
    first, count = 0, 0
    for block in blocks:
        if count and block == first + count and count < CHUNK_SIZE // BLOCK:
            count += 1
            continue
        if count:
            yield first, count
        first, count = block, 1
    if count:
        yield first, count


def blocks_outside(image: Path, end: int, extents: Sequence[tuple[int, int]]) -> Delta:
    """The blocks before `end`, a block's start, that are neither holes nor altogether inside one of the extents."""
    inside = {block for first, last in extents for block in range(-(-first // BLOCK), last // BLOCK)}
    with image.open("rb", buffering=0) as file:
        blocks = sorted(set(_data_windows(file.fileno(), end, BLOCK)) - inside)
        return {number * BLOCK: os.pread(file.fileno(), BLOCK, number * BLOCK) for number in blocks}


def apply(delta: Delta, image: Path) -> None:
    with image.open("r+b") as file:
        for offset, block in delta.items():
            os.pwrite(file.fileno(), block, offset)


def _digest(chunk: bytes | bytearray) -> str:
    return hashlib.sha256(chunk).hexdigest()


def _data_windows(descriptor: int, size: int, window: int) -> Iterator[int]:
    """Numbers of the windows of so many bytes that are not holes altogether."""
    for start, end in data_extents(descriptor, size):
        yield from range(start // window, (end - 1) // window + 1)


def data_extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each part that is not a hole (lseek(2), SEEK_DATA)."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole until the end
            return
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position
