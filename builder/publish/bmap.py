"""The map of an image for bmaptool(1), format 2.0: which blocks have to be on a disk, and their checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from builder.fs.chunks import BLOCK
from builder.model.manifest import ImageFacts

_UNKNOWN = "0" * 64  # in the place of the map's own checksum while that is reckoned
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


def block_map(facts: ImageFacts, checksums: Sequence[str]) -> str:
    """From what its filesystems have allocated, and the sha256 of each such extent: no two copies of an image have the
    same holes."""
    ranges = [
        f'        <Range chksum="{checksum}"> {_blocks(start, end)} </Range>'
        for (start, end), checksum in zip(facts.allocated, checksums, strict=True)
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
