"""Every sum of a raw image that its papers tell, from one reading of it."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.model.manifest import CHUNK_SIZE, Extents

_AHEAD = 4  # chunks in memory
_ZEROS = bytes(CHUNK_SIZE)


@dataclass(frozen=True, slots=True)
class Digests:
    """sha256 of each chunk, of the whole image and of each of its extents."""

    chunks: tuple[str, ...]
    whole: str
    extents: tuple[str, ...]


def digests_of(image: Path, extents: Extents) -> Digests:
    """The two kinds of sums that go on from chunk to chunk are reckoned side by side, and the others beside them."""
    whole, of_extents = hashlib.sha256(), [hashlib.sha256() for _ in extents]
    chunks: list[Future[str]] = []

    def add_to_extents(start: int, data: bytes) -> None:
        for (first, end), total in zip(extents, of_extents, strict=True):
            if first < start + len(data) and start < end:
                total.update(memoryview(data)[max(0, first - start) : end - start])

    with (
        image.open("rb", buffering=0) as file,
        ThreadPoolExecutor(1) as one,
        ThreadPoolExecutor(1) as another,
        ThreadPoolExecutor(os.cpu_count()) as any_of_many,
    ):
        zeros = any_of_many.submit(_sha256, _ZEROS)
        pending: deque[Future[Any]] = deque()
        for start in range(0, os.fstat(file.fileno()).st_size, CHUNK_SIZE):
            data = os.pread(file.fileno(), CHUNK_SIZE, start)
            chunks.append(zeros if data == _ZEROS else any_of_many.submit(_sha256, data))
            pending += [one.submit(whole.update, data), another.submit(add_to_extents, start, data), chunks[-1]]
            while len(pending) > 3 * _AHEAD:
                pending.popleft().result()
        for work in pending:
            work.result()
    return Digests(
        tuple(chunk.result() for chunk in chunks),
        whole.hexdigest(),
        tuple(total.hexdigest() for total in of_extents),
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
