"""A node's image without a file: its golden image, with the blocks of its stamp in their places."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.flash.source import Image, extents_of, from_file, zeros_between
from builder.fs.chunks import Delta
from builder.model.manifest import CHUNK_SIZE, Extent, Manifest


@contextmanager
def stamped_image(golden: Path, delta: Delta, manifest: Manifest) -> Iterator[Image]:
    """The image of `golden` and `delta`. The caller has compared `golden` with its digests."""
    offsets = sorted(delta)
    with golden.open("rb", buffering=0) as file:
        fill_golden = from_file(file.fileno())

        def fill(parts: Sequence[Extent], buffer: memoryview) -> None:
            fill_golden(parts, buffer)
            for extent in parts:
                first, last = (bisect.bisect_left(offsets, edge) for edge in extent)
                for offset in offsets[first:last]:
                    block, within = delta[offset], offset % CHUNK_SIZE
                    buffer[within : within + len(block)] = block

        facts, extents = manifest.image, extents_of(manifest.image)
        yield Image(facts.size, extents, zeros_between(extents, manifest), 1, facts.chunks, fill)
