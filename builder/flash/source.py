"""The source of a flash: an image, raw or compressed, and the ranges that must be written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.errors import BuildError, VerifyMismatchError
from builder.fs import chunks
from builder.fs.allocation import TABLES, merged
from builder.image.forms import is_compressed
from builder.image.reading import Chunks, compressed_chunks
from builder.model.manifest import CHUNK_SIZE, Extent, ImageFacts, Manifest, image_digest

ALIGNMENT = 4096
_AGAIN = "build the image again"


class Source(Protocol):
    """An image to write. `size` is in bytes. `extents` are written. `zeros` must read as zeros. All other bytes may
    keep their old content. Both lists are sorted and do not overlap; their numbers are multiples of 4096 or the image's
    end.

    `readers` is the number of threads that may read in parallel. If it is 1, chunks are read in order.
    """

    @property
    def size(self) -> int: ...

    @property
    def extents(self) -> Sequence[Extent]: ...

    @property
    def zeros(self) -> Sequence[Extent]: ...

    @property
    def readers(self) -> int: ...

    def read(self, parts: Sequence[Extent], buffer: memoryview) -> list[bytes]:
        """Read `parts`, which are in one chunk of 4 MiB, into the same places of `buffer`. Returns the sha256 (raw, 32
        bytes) of each part.

        Raises BuildError, VerifyMismatchError or DownloadError when the image cannot be read, or differs from its
        manifest.
        """


@dataclass(frozen=True, slots=True)
class Image:
    """An image. `digests` are those of its chunks. `fill` reads at least the given parts of one chunk into a buffer."""

    size: int
    extents: Sequence[Extent]
    zeros: Sequence[Extent]
    readers: int
    digests: Sequence[str]
    fill: Callable[[Sequence[Extent], memoryview], None]

    def read(self, parts: Sequence[Extent], buffer: memoryview) -> list[bytes]:
        self.fill(parts, buffer)
        return [self._digest(start, end, buffer) for start, end in parts]

    def _digest(self, start: int, end: int, buffer: memoryview) -> bytes:
        number, within = divmod(start, CHUNK_SIZE)
        if within == 0 and end == min(start + CHUNK_SIZE, self.size):
            return bytes.fromhex(self.digests[number])
        return hashlib.sha256(buffer[within : within + end - start]).digest()


@contextmanager
def image_source(image: Path, manifest: Manifest) -> Iterator[Image]:
    """An image, compared with its manifest. A raw image is compared in full before a disk is touched. For a compressed
    one, the size and the end are checked before, and each chunk is compared when it is read: there is no unpacked file.

    Raises VerifyMismatchError, and DownloadError when a compressed image is damaged.
    """
    facts, extents = manifest.image, extents_of(manifest.image)
    if image_digest(facts.chunks) != facts.digest:
        raise VerifyMismatchError(
            "has a manifest whose digest is not that of its chunks", where=str(image), hint=_AGAIN
        )
    zeros = zeros_between(extents, manifest)
    if is_compressed(image):
        last = max(end for _, end in extents)
        with compressed_chunks(image, facts, last) as packed:
            yield Image(facts.size, extents, zeros, packed.readers, facts.chunks, _proven(packed, facts.chunks, image))
        return
    with image.open("rb", buffering=0) as file:
        opened = Path(f"/proc/self/fd/{file.fileno()}")  # a build may replace the file meanwhile
        if not chunks.is_image(opened, facts):
            raise VerifyMismatchError("does not agree with its manifest", where=str(image), hint=_AGAIN)
        yield Image(facts.size, extents, zeros, 1, facts.chunks, from_file(file.fileno()))


def from_file(descriptor: int) -> Callable[[Sequence[Extent], memoryview], None]:
    def fill(parts: Sequence[Extent], buffer: memoryview) -> None:
        for start, end in parts:
            within, position = start % CHUNK_SIZE, start
            while position < end:
                try:
                    got = os.preadv(descriptor, [buffer[within + position - start : within + end - start]], position)
                except OSError as unreadable:  # not the disk's fault
                    text = f"the image cannot be read at {position}: {unreadable.strerror}"
                    raise BuildError(text) from unreadable
                if got == 0:
                    raise BuildError(f"the image ends at {position}, before its time")
                position += got

    return fill


def _proven(packed: Chunks, digests: Sequence[str], image: Path) -> Callable[[Sequence[Extent], memoryview], None]:
    def fill(parts: Sequence[Extent], buffer: memoryview) -> None:
        number = parts[0][0] // CHUNK_SIZE
        length = packed.read(number, buffer)
        if hashlib.sha256(buffer[:length]).hexdigest() != digests[number]:
            start = number * CHUNK_SIZE
            text = f"does not agree with its manifest, at {start}-{start + length - 1}"
            raise VerifyMismatchError(text, where=str(image), hint=_AGAIN)

    return fill


def extents_of(facts: ImageFacts) -> tuple[Extent, ...]:
    """Ranges of bytes of an image that must be written: the allocated blocks of its filesystems, and the first MiB."""
    return merged([(0, TABLES), *facts.allocated], facts.size)


def zeros_between(extents: Sequence[Extent], manifest: Manifest) -> tuple[Extent, ...]:
    """Ranges of bytes to be zeroed: everything outside of `extents` and of the partitions. Free blocks of a filesystem
    may keep their old content."""
    layout, size = manifest.layout, manifest.image.size
    volumes = [
        (layout.boot_start, layout.boot_start + layout.boot_size),
        (layout.root_start, layout.root_start + layout.root_size),
    ]
    return gaps(merged([*extents, *volumes], size), size)


def gaps(extents: Sequence[Extent], size: int) -> tuple[Extent, ...]:
    """The ranges between `extents` and after them, up to `size`."""
    edges = [0, *(edge for extent in extents for edge in extent), size]
    return tuple((start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end)
