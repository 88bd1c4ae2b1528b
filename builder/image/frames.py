"""Compress an image chunk by chunk, each chunk into its own frame. So the chunks that a node shares with its golden
image are compressed once for all nodes, and frames are made in parallel. zstd and xz read such a file like any other.

Concatenated frames: RFC 8878, section 3.1. Concatenated streams: the .xz file format 1.2, section 2.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from builder.errors import BuildError, DamagedError
from builder.fs import chunks
from builder.host import tools
from builder.host.run import stopping
from builder.image.forms import Compression
from builder.image.golden import Golden
from builder.image.stamp import Stamp
from builder.model.manifest import CHUNK_SIZE
from builder.model.progress import Progress
from builder.store.products import Store, require_whole
from builder.store.step import register

_FRAMES, _OFFSETS = "frames", "offsets.json"
_LEVEL = {"zst": 9, "xz": 6}
"""A higher level of zstd saves some percent of the size and takes ten times as long. xz has the level of Raspberry Pi
OS's own images."""
_AHEAD = 4  # chunks in memory for each processor


@dataclass(frozen=True, slots=True)
class Frames:
    """The compressed chunks of a golden image: chunk N is in `file` from `offsets[N]` to `offsets[N + 1]`, in bytes."""

    file: Path
    offsets: Sequence[int]
    compression: Compression


def golden_frames(golden: Golden, compression: Compression, store: Store, progress: Progress) -> Frames:
    """The compressed chunks of a golden image, from the store if they are there. Raises DamagedError when the image in
    the cache has changed."""
    inputs = {
        "golden": golden.folder.name,
        "chunk": CHUNK_SIZE,
        "compression": [compression, _LEVEL[compression], library(compression)],
    }
    step = store.step(_MAKER, f"{golden.name}, {compression}", inputs)
    folder = store.make(step, lambda fresh: _compress_all(golden, compression, fresh, progress)).folder
    require_whole(folder, _OFFSETS)
    return Frames(folder / _FRAMES, json.loads((folder / _OFFSETS).read_text()), compression)


def _compress_all(golden: Golden, compression: Compression, fresh: Path, progress: Progress) -> None:
    """Write the frames and their offsets into `fresh`."""
    with (
        golden.image.open("rb", buffering=0) as image,
        (fresh / _FRAMES).open("wb") as file,
        progress.bar(f"compress to .{compression}", total=golden.image.stat().st_size) as advance,
    ):
        known: dict[str, bytes] = {}

        def frame(number: int) -> bytes:
            chunk = os.pread(image.fileno(), CHUNK_SIZE, number * CHUNK_SIZE)
            if hashlib.sha256(chunk).hexdigest() != golden.chunks[number]:
                raise DamagedError(str(golden.folder))
            made = known.get(golden.chunks[number]) or _compress(chunk, compression)
            if not any(chunk):  # most of the equal chunks are zeros, and their frames are small
                known[golden.chunks[number]] = made
            advance(len(chunk))
            return made

        offsets = [0]
        for made in _side_by_side(frame, range(len(golden.chunks))):
            file.write(made)
            offsets.append(offsets[-1] + len(made))
    (fresh / _OFFSETS).write_text(json.dumps(offsets))


def write_compressed(target: Path, golden: Golden, stamped: Stamp, frames: Frames) -> None:
    """Make `target`, with mode 0600, from the golden image's frames and new frames for the chunks that the stamp has
    changed."""
    touched = chunks.stamped(golden.image, stamped.delta)
    fresh = _side_by_side(lambda number: _compress(touched[number], frames.compression), sorted(touched))
    private = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with frames.file.open("rb") as old, os.fdopen(private, "wb") as new:
        done = 0
        for number in sorted(touched):
            _copy(old, frames.offsets[done], frames.offsets[number], new)
            new.write(next(fresh))
            done = number + 1
        _copy(old, frames.offsets[done], frames.offsets[-1], new)


def library(compression: Compression) -> str:
    """Name and version of the compressing library, because the bytes of a compressed file depend on it."""
    if compression == "zst":
        return f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"
    return f"liblzma {tools.version('xz')}"


def _compress(chunk: bytes | bytearray, compression: Compression) -> bytes:
    if compression == "zst":
        return zstandard.ZstdCompressor(level=_LEVEL["zst"], write_checksum=True).compress(chunk)
    return lzma.compress(chunk, preset=_LEVEL["xz"])


def _side_by_side(work: Callable[[int], bytes], numbers: Iterable[int]) -> Iterator[bytes]:
    """Results of `work` in the order of the numbers, computed in threads: both libraries release Python's lock. Raises
    BuildError when the build is stopped."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[bytes]] = deque()
        try:
            for number in numbers:
                if stopping.is_set():
                    raise BuildError("stopped while an image was compressed")
                pending.append(pool.submit(work, number))
                if len(pending) >= threads * _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _copy(old: BinaryIO, start: int, end: int, new: BinaryIO) -> None:
    """Copy bytes inside the kernel, by copy_file_range(2)."""
    new.flush()
    while start < end:
        copied = os.copy_file_range(old.fileno(), new.fileno(), end - start, start)
        if copied == 0:
            raise BuildError("ended early while it was copied", where=old.name)
        start += copied


_MAKER = register("frames", _compress_all)
