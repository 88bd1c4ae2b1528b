"""An image compressed in each way that a file has which ends in .img.zst or .img.xz."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping

import zstandard

from builder.host.run import run
from builder.image import frames
from builder.image.forms import Compression
from builder.model.manifest import CHUNK_SIZE

MIB = 1024**2
SKIPPABLE = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"12345"


def ours(image: bytes, compression: Compression) -> bytes:
    starts = range(0, len(image), CHUNK_SIZE)
    return b"".join(frames._compress(image[start : start + CHUNK_SIZE], compression) for start in starts)


def _two_xz(image: bytes) -> bytes:
    return lzma.compress(image[: 5 * MIB], preset=0) + bytes(8) + lzma.compress(image[5 * MIB :], preset=0) + bytes(4)


def _two_zst(image: bytes) -> bytes:
    packer = zstandard.ZstdCompressor()
    return SKIPPABLE + packer.compress(image[: 5 * MIB]) + SKIPPABLE + packer.compress(image[5 * MIB :])


PACKERS: Mapping[str, tuple[Compression, Callable[[bytes], bytes]]] = {
    "ours.zst": ("zst", lambda image: ours(image, "zst")),
    "ours.xz": ("xz", lambda image: ours(image, "xz")),
    "one block.xz": ("xz", lambda image: run(["xz", "-0", "-T1", "-c"], input=image).stdout),
    "blocks.xz": ("xz", lambda image: run(["xz", "-0", "-T2", "--block-size=1MiB", "-c"], input=image).stdout),
    "padded streams.xz": ("xz", _two_xz),
    "one frame.zst": ("zst", lambda image: zstandard.ZstdCompressor().compress(image)),
    "unknown size.zst": ("zst", lambda image: run(["zstd", "-1", "-c"], input=image).stdout),
    "frames.zst": ("zst", _two_zst),
}
