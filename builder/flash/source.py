"""The source of a flash: an image, raw or compressed, and the ranges of it that matter."""

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
    """`size` in bytes. `extents` are written; `zeros` must read as zeros; the bytes in neither may keep their content.
    Both are in order, apart from each other, and begin and end at multiples of 4096 or at the image's end.

    So many `readers` may read at once. One reader alone asks for chunks in their order.
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
        """Put parts of one chunk of 4 MiB where they are in it; the sha256 (raw, 32 bytes) of each part.

        Raises BuildError, VerifyMismatchError, DownloadError: the image cannot be read, or does not agree with its
        manifest.
        """


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose chunks are known by `digests`. `fill` puts these parts, at least, of one chunk into a buffer."""

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
    """The image as its manifest says. Of a raw one this is found out before any disk is touched; of a compressed one
    that is so of its size and its end, and of each chunk when it is read: it is in no file meanwhile.

    Raises VerifyMismatchError, DownloadError when a compressed image is damaged.
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
        opened = Path(f"/proc/self/fd/{file.fileno()}")  # not a file that a build may put in its place meanwhile
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
    """Ranges of bytes of an image that must be on the disk: those that its filesystems have allocated, and the first
    MiB."""
    return merged([(0, TABLES), *facts.allocated], facts.size)


def zeros_between(extents: Sequence[Extent], manifest: Manifest) -> tuple[Extent, ...]:
    """Ranges of bytes of the rest that are to be zeroed: those in no partition. The free blocks of a filesystem can
    keep their old content."""
    layout, size = manifest.layout, manifest.image.size
    volumes = [
        (layout.boot_start, layout.boot_start + layout.boot_size),
        (layout.root_start, layout.root_start + layout.root_size),
    ]
    return gaps(merged([*extents, *volumes], size), size)


def gaps(extents: Sequence[Extent], size: int) -> tuple[Extent, ...]:
    """The ranges between these and after them, to `size`."""
    edges = [0, *(edge for extent in extents for edge in extent), size]
    return tuple((start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end)
