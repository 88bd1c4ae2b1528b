"""Compressed files whose structure asks for memory or hours: each is refused at once, and before a disk is touched."""

from __future__ import annotations

import lzma
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from builder.errors import DownloadError
from builder.fetch.unpacking import unpack
from builder.host.run import run
from builder.image.reading import compressed_chunks
from builder.model.manifest import CHUNK_SIZE, ImageFacts
from builder.model.progress import Silent
from tests.hostile.test_cases import small_memory  # noqa: F401

MIB, GIB = 1024**2, 1024**3
IMAGE = bytes(9 * MIB)
FACTS = ImageFacts(size=len(IMAGE), chunk_size=CHUNK_SIZE, digest="0" * 64, chunks=(), allocated=())
SECONDS = 10
"""Generous for a busy machine: each case takes a fraction of a second."""
SKIPPABLE = struct.pack("<II", 0x184D2A50, 0)

pytestmark = pytest.mark.usefixtures("small_memory")


def footer(backward: int) -> bytes:
    body = struct.pack("<I", backward) + b"\0\4"
    return struct.pack("<I", zlib.crc32(body)) + body + b"YZ"


def large_index(file: Path) -> None:
    """An index of 17 GB, none of which takes room on the disk."""
    with file.open("wb") as made:
        made.truncate(17 * GIB)
        made.seek(0, 2)
        made.write(footer(0xFFFFFFFF))


def endless_number(file: Path) -> None:
    index = bytes(1) + b"\x80" * 400_003
    index += struct.pack("<I", zlib.crc32(index))
    file.write_bytes(lzma.compress(b"")[:12] + index + footer(len(index) // 4 - 1))


def many_records(file: Path) -> None:
    """Each of a block of no bytes."""
    index = b"\0" + b"\x80\x80\x10" + b"\0\0" * (1 << 18)
    index += bytes(-len(index) % 4)
    index += struct.pack("<I", zlib.crc32(index))
    file.write_bytes(lzma.compress(b"")[:12] + index + footer(len(index) // 4 - 1))


def empty_streams(file: Path) -> None:
    file.write_bytes(lzma.compress(b"") * 400_000)


def endless_padding(file: Path) -> None:
    file.write_bytes(lzma.compress(IMAGE))
    with file.open("r+b") as made:
        made.truncate(GIB)


def large_dictionary(file: Path) -> None:
    """1.5 GiB, by the byte after LZMA2's id and length (section 5.3.1)."""
    packed = bytearray(lzma.compress(IMAGE))
    length = (packed[12] + 1) * 4
    place = packed.index(b"\x21\x01", 12, 12 + length) + 2
    packed[place] = 39
    packed[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(packed[12 : 12 + length - 4]))
    file.write_bytes(packed)


def empty_frames(file: Path) -> None:
    file.write_bytes(zstandard.ZstdCompressor().compress(b"") * 1_000_000)


def skippable_frames(file: Path) -> None:
    file.write_bytes(SKIPPABLE * 1_000_000)


def empty_blocks(file: Path) -> None:
    """In one frame whose content's size is not told: raw blocks, and then the last one."""
    frame = struct.pack("<I", 0xFD2FB528) + b"\0\x58" + bytes(3) * 2_000_000 + b"\1\0\0"
    file.write_bytes(frame)


def large_window(file: Path) -> None:
    """2 GiB, by the byte after the frame header's descriptor (RFC 8878, 3.1.1.1.2)."""
    packed = bytearray(run(["zstd", "-1", "-c"], input=IMAGE).stdout)
    assert not packed[4] & 0x20
    packed[5] = (31 - 10) << 3
    file.write_bytes(packed)


FILES: dict[Callable[[Path], None], tuple[str, str]] = {
    large_index: ("xz", "the index of the .xz stream .* has 17179869184 bytes"),
    endless_number: ("xz", "has a number that is too long"),
    many_records: ("xz", "more frames or blocks than an image of its size can need"),
    empty_streams: ("xz", "more frames or blocks"),
    endless_padding: ("xz", "more frames or blocks"),
    large_dictionary: ("xz", "wants a dictionary of 3221225472 bytes"),
    empty_frames: ("zst", "more frames or blocks"),
    skippable_frames: ("zst", "more frames or blocks"),
    empty_blocks: ("zst", "more frames or blocks"),
    large_window: ("zst", "wants a window of 2147483648 bytes"),
}


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_structure_that_asks_for_too_much_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    suffix, said = FILES[make]
    file = tmp_path / f"node-003.img.{suffix}"
    make(file)
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=said), compressed_chunks(file, FACTS, len(IMAGE)):
        pass
    assert time.monotonic() - begun < SECONDS


def large_directory(file: Path) -> None:
    with file.open("wb") as made:
        made.write(b"PK\3\4" + bytes(100))
        made.truncate(3 * GIB + 22)
        made.seek(3 * GIB)
        made.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 3 * GIB, 0, 0))


def large_directory_of_zip64(file: Path) -> None:
    with file.open("wb") as made:
        made.write(b"PK\3\4" + bytes(100))
        made.truncate(5 * GIB)
        made.seek(5 * GIB)
        made.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 5 * GIB, 0))
        made.write(struct.pack("<4sLQL", b"PK\6\7", 0, 5 * GIB, 1))
        made.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFF, 0, 0))


def large_directory_without_zip64(file: Path) -> None:
    with file.open("wb") as made:
        made.write(b"PK\3\4" + bytes(100))
        made.truncate(0xFFFFFFFF)
        made.seek(0xFFFFFFFF)
        made.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFF, 0, 0))


@pytest.mark.parametrize(
    "make",
    [large_directory, large_directory_of_zip64, large_directory_without_zip64, large_window, large_dictionary],
    ids=lambda make: make.__name__,
)
def test_a_published_file_that_asks_for_too_much_is_not_unpacked(make: Callable[[Path], None], tmp_path: Path) -> None:
    file, image = tmp_path / "published", tmp_path / "raw.img"
    make(file)
    begun = time.monotonic()
    with pytest.raises(DownloadError, match="is damaged: "):
        unpack(file, image, size=len(IMAGE), sha256=None, where="URL", progress=Silent())
    assert time.monotonic() - begun < SECONDS
