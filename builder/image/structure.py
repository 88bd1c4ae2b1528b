"""Read the structure of .xz and .zst files, without unpacking: the place of each frame, and the size of its content.

A file may come from a stranger, so the number of its parts, its indices, windows and dictionaries are limited.

Sources: the .xz file format 1.2, sections 2 to 5; RFC 8878, section 3.1.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zstandard

from builder import limits

_LIBRARY = 1 << 20
"""Bytes that liblzma needs in addition to a dictionary; a generous value."""
_LZMA2 = 0x21
_XZ_HEADER, _XZ_FOOTER, _XZ_MAGIC, _XZ_END = 12, 12, b"\xfd7zXZ\0", b"YZ"
_ZST_SKIPPABLE, _ZST_LONGEST_HEADER, _ZST_CHECKSUM = 0x184D2A50, 18, 4
_ZST_RLE, _ZST_RESERVED = 1, 3


@dataclass(frozen=True, slots=True)
class Frame:
    """A zstd frame or an .xz stream. `start` and `end` are offsets in the file. `unpacked` is the size of its content,
    or None if the frame does not tell. All are in bytes."""

    start: int
    end: int
    unpacked: int | None


class Parts:
    """The number of frames, streams, blocks and paddings that a file may still have. An honest file has few, and
    reading a file that consists of them would take hours."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self) -> None:
        """Count one part. Raises EOFError when there are too many."""
        self._left -= 1
        if self._left < 0:
            raise EOFError("it has more frames or blocks than an image of its size can need")


def xz_streams(descriptor: int, end: int, parts: Parts) -> list[Frame]:
    """The streams of an .xz file, by the index at the end of each. `end` is the file's size in bytes. Raises EOFError
    for a damaged file."""
    streams = []
    while end:
        parts.take()
        footer = bytes_at(descriptor, end - _XZ_FOOTER, _XZ_FOOTER)
        if footer.endswith(bytes(4)):
            end -= 4
            continue
        if not footer.endswith(_XZ_END) or zlib.crc32(footer[4:10]) != _number(footer[:4]):
            raise EOFError(f"no .xz stream ends at {end}; is it cut off?")
        length = (_number(footer[4:8]) + 1) * 4
        if length > limits.XZ_INDEX:
            raise EOFError(f"the index of the .xz stream that ends at {end} has {length} bytes")
        index = bytes_at(descriptor, end - _XZ_FOOTER - length, length)
        if zlib.crc32(index[:-4]) != _number(index[-4:]):
            raise EOFError(f"the index of the .xz stream that ends at {end} has changed")
        blocks = list(_records(index, parts))
        taken = sum(-(-unpadded // 4) * 4 for unpadded, _ in blocks)
        start = end - _XZ_FOOTER - length - taken - _XZ_HEADER
        if bytes_at(descriptor, start, len(_XZ_MAGIC)) != _XZ_MAGIC:
            raise EOFError(f"no .xz stream begins at {start}")
        _require_dictionaries(descriptor, start + _XZ_HEADER, blocks)
        streams.append(Frame(start, end, sum(unpacked for _, unpacked in blocks)))
        end = start
    return streams[::-1]


def _records(index: bytes, parts: Parts) -> Iterator[tuple[int, int]]:
    """Two sizes of each block, in bytes: in the file without padding, and unpacked. Raises EOFError."""
    numbers = _integers(index[1:-4])
    for _ in range(next(numbers)):
        parts.take()
        yield next(numbers), next(numbers)


def _integers(data: bytes) -> Iterator[int]:
    """The multibyte integers in `data`, seven bits a byte (section 1.2). Raises EOFError after the last one."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
        elif shift == 7 * limits.XZ_INTEGER:
            raise EOFError("the index of an .xz stream has a number that is too long")
    raise EOFError("the index of an .xz stream is too short")


def _require_dictionaries(descriptor: int, position: int, blocks: Sequence[tuple[int, int]]) -> None:
    """Raises EOFError for a block with a large dictionary: liblzma would refuse it later, when a disk is half
    written."""
    for unpadded, _ in blocks:
        (length,) = bytes_at(descriptor, position, 1)
        header = bytes_at(descriptor, position, (length + 1) * 4)
        if _dictionary(header) + _LIBRARY > limits.WINDOW:
            raise EOFError(f"its block at {position} wants a dictionary of {_dictionary(header)} bytes")
        position += -(-unpadded // 4) * 4


def _dictionary(header: bytes) -> int:
    """Bytes of the LZMA2 dictionary by a block's header (sections 3.1 and 5.3.1); 0 without LZMA2."""
    flags, rest, largest = header[1], header[2:-4], 0
    for _ in range(bool(flags & 0x40) + bool(flags & 0x80)):
        _, rest = _integer(rest)
    for _ in range((flags & 3) + 1):
        filter_id, rest = _integer(rest)
        length, rest = _integer(rest)
        properties, rest = rest[:length], rest[length:]
        if filter_id == _LZMA2 and properties:
            bits = properties[0] & 0x3F
            largest = max(largest, (2 | bits & 1) << bits // 2 + 11)
    return largest


def _integer(data: bytes) -> tuple[int, bytes]:
    """The first multibyte integer, and the data after it."""
    value = next(_integers(data))
    length = next(number for number, byte in enumerate(data, 1) if byte < 0x80)
    return value, data[length:]


def zst_frames(descriptor: int, size: int, parts: Parts) -> list[Frame]:
    """The frames of a .zst file of `size` bytes, found by following the headers of their blocks. Raises EOFError and
    ZstdError for a damaged file."""
    frames, position = [], 0
    while position < size:
        parts.take()
        start, header = position, os.pread(descriptor, _ZST_LONGEST_HEADER, position)
        if _number(header[:4]) & ~0xF == _ZST_SKIPPABLE:
            position += 8 + _number(header[4:8])
            continue
        told = zstandard.get_frame_parameters(header)
        if told.window_size > limits.WINDOW:
            raise EOFError(f"its frame at {start} wants a window of {told.window_size} bytes")
        position += zstandard.frame_header_size(header)
        is_last = 0
        while not is_last:
            parts.take()
            block = _number(bytes_at(descriptor, position, 3))
            is_last, kind, length = block & 1, block >> 1 & 3, block >> 3
            if kind == _ZST_RESERVED:
                raise EOFError(f"no block of a zstd frame is at {position}")
            position += 3 + (1 if kind == _ZST_RLE else length)
        position += _ZST_CHECKSUM if told.has_checksum else 0
        known = told.content_size != zstandard.CONTENTSIZE_UNKNOWN
        frames.append(Frame(start, position, told.content_size if known else None))
    if position > size:
        raise EOFError("it is cut off")
    return frames


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def bytes_at(descriptor: int, start: int, length: int) -> bytes:
    data = os.pread(descriptor, length, start) if start >= 0 else b""
    if len(data) != length:
        raise EOFError("it is cut off")
    return data
