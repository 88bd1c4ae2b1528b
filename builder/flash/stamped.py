"""A node's image that was never a file: its golden image, and the blocks of its stamp in their places."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.disk.chunks import Delta
from builder.flash.source import extents_of, zeros_between
from builder.model.manifest import Extent, Manifest


@dataclass(frozen=True, slots=True)
class StampedImage:
    """Implements `source.Source`. `offsets` are those of the delta, in order."""

    size: int
    extents: Sequence[Extent]
    zeros: Sequence[Extent]
    descriptor: int
    delta: Delta
    offsets: Sequence[int]

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(os.pread(self.descriptor, length, offset))
        first, last = (bisect.bisect_left(self.offsets, edge) for edge in (offset, offset + length))
        for start in self.offsets[first:last]:
            block = self.delta[start]
            data[start - offset : start - offset + len(block)] = block
        return bytes(data)


@contextmanager
def stamped_image(golden: Path, delta: Delta, manifest: Manifest) -> Iterator[StampedImage]:
    """`golden` has been compared with its digests."""
    with golden.open("rb", buffering=0) as file:
        extents = extents_of(manifest.image)
        yield StampedImage(
            manifest.image.size, extents, zeros_between(extents, manifest), file.fileno(), delta, sorted(delta)
        )
