"""The map of an image for bmaptool(1), format 2.0: which blocks have to be on a disk, and their checksums."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from builder.disk.chunks import BLOCK
from builder.model.manifest import ImageFacts

_UNKNOWN = "0" * 64  # in the place of the map's own checksum while that is reckoned
_READ = 1 << 20
_MAP = """\
<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {block} </BlockSize>
    <BlocksCount> {blocks} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {checksum} </BmapFileChecksum>
    <BlockMap>
{ranges}
    </BlockMap>
</bmap>
"""


def block_map(image: Path, facts: ImageFacts) -> str:
    """Of a raw image, from what its filesystems have allocated: no two copies of an image have the same holes."""
    with image.open("rb", buffering=0) as file:
        ranges = [
            f'        <Range chksum="{_sha256(file.fileno(), start, end)}"> {_blocks(start, end)} </Range>'
            for start, end in facts.allocated
        ]
    text = _MAP.format(
        size=facts.size,
        block=BLOCK,
        blocks=-(-facts.size // BLOCK),
        mapped=sum(end - start for start, end in facts.allocated) // BLOCK,
        checksum=_UNKNOWN,
        ranges="\n".join(ranges),
    )
    return text.replace(_UNKNOWN, hashlib.sha256(text.encode()).hexdigest(), 1)


def _blocks(start: int, end: int) -> str:
    first, last = start // BLOCK, end // BLOCK - 1
    return str(first) if first == last else f"{first}-{last}"


def _sha256(descriptor: int, start: int, end: int) -> str:
    total = hashlib.sha256()
    while start < end:
        total.update(os.pread(descriptor, min(_READ, end - start), start))
        start += _READ
    return total.hexdigest()
