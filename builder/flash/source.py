"""What is written: an image and which bytes of it matter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.disk import chunks
from builder.disk.allocation import TABLES, merged
from builder.errors import VerifyMismatchError
from builder.model.manifest import Extent, ImageFacts, Manifest

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
        if not chunks.is_image(opened, manifest.image):
            raise VerifyMismatchError("is not what its manifest says", where=str(image), hint="build the image again")
        extents = extents_of(manifest.image)
        yield RawImage(manifest.image.size, extents, zeros_between(extents, manifest), file.fileno())


def extents_of(facts: ImageFacts) -> tuple[Extent, ...]:
    """What of an image has to be on the disk: what its filesystems have allocated, and the first MiB."""
    return merged([(0, TABLES), *facts.allocated], facts.size)


def zeros_between(extents: Sequence[Extent], manifest: Manifest) -> tuple[Extent, ...]:
    """What of the rest may not keep what it has: all that is in no partition. Of its own free blocks a filesystem
    believes nothing."""
    layout, size = manifest.layout, manifest.image.size
    volumes = [
        (layout.boot_start, layout.boot_start + layout.boot_size),
        (layout.root_start, layout.root_start + layout.root_size),
    ]
    return gaps(merged([*extents, *volumes], size), size)


def gaps(extents: Sequence[Extent], size: int) -> tuple[Extent, ...]:
    """What is between them and after them."""
    edges = [0, *(edge for extent in extents for edge in extent), size]
    return tuple((start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end)
