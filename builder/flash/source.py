"""What is written: an image and which bytes of it matter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.disk import chunks
from builder.errors import BuildError, VerifyMismatchError
from builder.model.disks import Extent
from builder.model.manifest import Manifest

ALIGNMENT = 4096


class Source(Protocol):
    """`size` in bytes. `extents` are written; `zeros` must read as zeros; what is in neither may keep what it has. Both
    are in order, apart from each other, and begin and end at multiples of 4096 or at the image's end."""

    @property
    def size(self) -> int: ...

    @property
    def extents(self) -> Sequence[Extent]: ...

    @property
    def zeros(self) -> Sequence[Extent]: ...

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes, fewer at the end of the image only. Called from one thread at a time, mostly in order."""


@dataclass(frozen=True, slots=True)
class RawImage:
    size: int
    extents: Sequence[Extent]
    zeros: Sequence[Extent]
    descriptor: int

    def read(self, offset: int, length: int) -> bytes:
        parts = []
        while length and (part := os.pread(self.descriptor, length, offset)):
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)


@contextmanager
def raw_image(image: Path, manifest: Manifest) -> Iterator[RawImage]:
    """The image as its manifest says, which is found out before any disk is touched.

    Raises VerifyMismatchError.
    """
    with image.open("rb", buffering=0) as file:
        opened = Path(f"/proc/self/fd/{file.fileno()}")  # not what a build may put in its place meanwhile
        size = os.fstat(file.fileno()).st_size
        if size != manifest.image.size or tuple(chunks.digests(opened)) != manifest.image.chunks:
            raise VerifyMismatchError("is not what its manifest says", where=str(image), hint="build the image again")
        if size % 512:
            raise BuildError(f"has {size} bytes, which are no whole sectors", where=str(image))
        extents = extents_of(file.fileno(), size)
        yield RawImage(size, extents, gaps(extents, size), file.fileno())


def extents_of(image: int, size: int) -> tuple[Extent, ...]:
    """What of the open image has to be on the disk: all that is not a hole, and the first MiB."""
    return merged([(0, min(size, 1024**2)), *chunks.data_extents(image, size)], size)


def merged(extents: Sequence[Extent], size: int) -> tuple[Extent, ...]:
    """The same bytes and no hole smaller than a block: in order, aligned, apart."""
    result: list[Extent] = []
    for first, last in sorted(extents):
        start, end = first // ALIGNMENT * ALIGNMENT, min(size, -(-last // ALIGNMENT) * ALIGNMENT)
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return tuple(result)


def gaps(extents: Sequence[Extent], size: int) -> tuple[Extent, ...]:
    """What is between them and after them."""
    edges = [0, *(edge for extent in extents for edge in extent), size]
    return tuple((start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end)
