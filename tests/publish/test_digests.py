"""One reading of an image gives the sums that three would."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from builder.fs import chunks
from builder.model.manifest import CHUNK_SIZE, Extents
from builder.publish.digests import digests_of

NOISE = random.Random(6).randbytes(CHUNK_SIZE + 5)
BLOCK = 4096


@pytest.mark.parametrize(
    "extents",
    [
        (),
        ((0, BLOCK), (2 * BLOCK, CHUNK_SIZE - BLOCK), (CHUNK_SIZE, CHUNK_SIZE + BLOCK)),
        ((BLOCK, 3 * CHUNK_SIZE + BLOCK), (4 * CHUNK_SIZE, 4 * CHUNK_SIZE + BLOCK)),
    ],
)
def test_sums_of_chunks_extents_and_the_whole(extents: Extents, tmp_path: Path) -> None:
    image = tmp_path / "image"
    content = NOISE + bytes(2 * CHUNK_SIZE) + NOISE + bytes(100)
    image.write_bytes(content)
    found = digests_of(image, extents)
    assert list(found.chunks) == chunks.digests(image)
    assert found.whole == hashlib.sha256(content).hexdigest()
    assert list(found.extents) == [hashlib.sha256(content[start:end]).hexdigest() for start, end in extents]
