"""A compressed image, chunk by chunk as it is unpacked, and in no file.

Ours have a frame for each chunk (`frames.py`): those that are wanted are unpacked, in several threads. Another's is
unpacked from its beginning. That the file is whole, and how long its image is, its structure tells beforehand.

Structures: the .xz file format 1.2, sections 2 to 4; RFC 8878, section 3.1.
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from builder.errors import DownloadError, VerifyMismatchError
from builder.model.manifest import CHUNK_SIZE, ImageFacts

_READERS = min(4, max(2, os.cpu_count() or 1))
_AT_ONCE = 1 << 20
_MOST_MEMORY = 128 << 20
"""Bytes of the window, or dictionary, of another's file: that of `xz -9` is 64 MiB."""
_XZ_HEADER, _XZ_FOOTER, _XZ_MAGIC, _XZ_END = 12, 12, b"\xfd7zXZ\0", b"YZ"
_ZST_SKIPPABLE, _ZST_LONGEST_HEADER, _ZST_CHECKSUM = 0x184D2A50, 18, 4
_ZST_RLE, _ZST_RESERVED = 1, 3
_DAMAGE = (lzma.LZMAError, zstandard.ZstdError, EOFError)
_AGAIN = "build the image again"


class Chunks(Protocol):
    """So many `readers` may read at once. One reader alone asks for chunks in their order."""

    @property
    def readers(self) -> int: ...

    def read(self, number: int, buffer: memoryview) -> int:
        """Put a chunk into a buffer; its length. Raises DownloadError when the file is damaged."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A zstd frame or an .xz stream: where it is in the file, and to how many bytes it unpacks, where it tells."""

    start: int
    end: int
    unpacked: int | None


@contextmanager
def compressed_chunks(image: Path, facts: ImageFacts, end: int) -> Iterator[Chunks]:
    """The chunks of an image that begin before `end`.

    Raises DownloadError when the file is cut off or otherwise damaged, VerifyMismatchError when it holds an image of
    another size.
    """
    is_xz = image.suffix == ".xz"
    with image.open("rb", buffering=0) as file:
        with _damage_told(image):
            frames = (xz_streams if is_xz else zst_frames)(file.fileno(), os.fstat(file.fileno()).st_size)
        sizes = [frame.unpacked for frame in frames]
        length = sum(size for size in sizes if size is not None)
        if None not in sizes and length != facts.size:
            text = f"unpacks to {length} bytes, and its manifest says {facts.size}"
            raise VerifyMismatchError(text, where=str(image), hint=_AGAIN)
        if sizes == [min(CHUNK_SIZE, facts.size - start) for start in range(0, facts.size, CHUNK_SIZE)]:
            yield _Framed(image, file.fileno(), frames, is_xz)
        else:
            stream = _XzStream(file) if is_xz else _zst_stream(file)
            yield _Streamed(image, stream, facts.size, (end - 1) // CHUNK_SIZE)


@dataclass(frozen=True, slots=True)
class _Framed:
    image: Path
    descriptor: int
    frames: Sequence[Frame]
    is_xz: bool
    readers: int = _READERS

    def read(self, number: int, buffer: memoryview) -> int:
        frame = self.frames[number]
        with _damage_told(self.image):
            packed = _bytes_at(self.descriptor, frame.start, frame.end - frame.start)
            chunk = (_unpacked_xz if self.is_xz else _unpacked_zst)(packed)
            if len(chunk) != frame.unpacked:
                raise EOFError(f"a frame of {frame.unpacked} bytes unpacks to {len(chunk)}")
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Stream(Protocol):
    def read(self, length: int, /) -> bytes: ...


class _Streamed:
    readers = 1

    def __init__(self, image: Path, stream: _Stream, size: int, last: int) -> None:
        self._image, self._stream, self._size, self._last = image, stream, size, last
        self._next, self._rest = 0, b""

    def read(self, number: int, buffer: memoryview) -> int:
        while self._next < number:
            self._take(buffer)
        length = self._take(buffer)
        if number == self._last:
            self._require_end(memoryview(bytearray(CHUNK_SIZE)))
        return length

    def _take(self, buffer: memoryview) -> int:
        start = self._next * CHUNK_SIZE
        wanted, length = min(CHUNK_SIZE, self._size - start), 0
        with _damage_told(self._image):
            while length < wanted:
                got = self._stream.read(min(_AT_ONCE, wanted - length))
                if not got:
                    raise EOFError(f"it unpacks to {start + length} bytes, and its manifest says {self._size}")
                buffer[length : length + len(got)] = got
                length += len(got)
        self._next += 1
        return length

    def _require_end(self, buffer: memoryview) -> None:
        """What nobody wants is looked at, too: a checksum may be at the end."""
        while self._next * CHUNK_SIZE < self._size:
            self._take(buffer)
        with _damage_told(self._image):
            if self._stream.read(1):
                raise EOFError(f"it unpacks to more than the {self._size} bytes of its manifest")


class _XzStream:
    """As lzma.LZMAFile, but for a limit of the memory that a file may ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decoder = file, _xz_decoder()

    def read(self, length: int, /) -> bytes:
        packed = b""
        while True:
            if self._decoder.eof:
                packed = (self._decoder.unused_data or self._file.read(_AT_ONCE)).lstrip(b"\0")  # streams are padded
                if not packed:
                    return b""
                self._decoder = _xz_decoder()
            elif self._decoder.needs_input:
                packed = self._file.read(_AT_ONCE)
                if not packed:
                    raise EOFError("it is cut off")
            if unpacked := self._decoder.decompress(packed, length):
                return unpacked
            packed = b""


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)


def _unpacked_xz(packed: bytes) -> bytes:
    return _xz_decoder().decompress(packed, CHUNK_SIZE + 1)


def _zst_stream(file: BinaryIO) -> _Stream:
    decoder = zstandard.ZstdDecompressor(max_window_size=_MOST_MEMORY)
    return decoder.stream_reader(file, read_across_frames=True, closefd=False)


def _unpacked_zst(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=_MOST_MEMORY).decompress(packed)


def xz_streams(descriptor: int, end: int) -> list[Frame]:
    """From the index at each one's end. Raises EOFError."""
    streams = []
    while end:
        footer = _bytes_at(descriptor, end - _XZ_FOOTER, _XZ_FOOTER)
        if footer.endswith(bytes(4)):
            end -= 4
            continue
        if not footer.endswith(_XZ_END) or zlib.crc32(footer[4:10]) != _number(footer[:4]):
            raise EOFError(f"no .xz stream ends at {end}; is it cut off?")
        length = (_number(footer[4:8]) + 1) * 4
        index = _bytes_at(descriptor, end - _XZ_FOOTER - length, length)
        if zlib.crc32(index[:-4]) != _number(index[-4:]):
            raise EOFError(f"the index of the .xz stream that ends at {end} is not what it was")
        blocks = list(_records(index))
        taken = sum(-(-unpadded // 4) * 4 for unpadded, _ in blocks)
        start = end - _XZ_FOOTER - length - taken - _XZ_HEADER
        if _bytes_at(descriptor, start, len(_XZ_MAGIC)) != _XZ_MAGIC:
            raise EOFError(f"no .xz stream begins at {start}")
        streams.append(Frame(start, end, sum(unpacked for _, unpacked in blocks)))
        end = start
    return streams[::-1]


def _records(index: bytes) -> Iterator[tuple[int, int]]:
    """Of each block its size in the file without padding, and unpacked."""
    numbers = _integers(index[1:-4])
    for _ in range(next(numbers)):
        yield next(numbers), next(numbers)


def _integers(data: bytes) -> Iterator[int]:
    """Multibyte integers, seven bits a byte (section 1.2)."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
    raise EOFError("the index of an .xz stream is too short")


def zst_frames(descriptor: int, size: int) -> list[Frame]:
    """From one block's header to the next. Raises EOFError, ZstdError."""
    frames, position = [], 0
    while position < size:
        start, header = position, os.pread(descriptor, _ZST_LONGEST_HEADER, position)
        if _number(header[:4]) & ~0xF == _ZST_SKIPPABLE:
            position += 8 + _number(header[4:8])
            continue
        told = zstandard.get_frame_parameters(header)
        position += zstandard.frame_header_size(header)
        is_last = 0
        while not is_last:
            block = _number(_bytes_at(descriptor, position, 3))
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


def _bytes_at(descriptor: int, start: int, length: int) -> bytes:
    data = os.pread(descriptor, length, start) if start >= 0 else b""
    if len(data) != length:
        raise EOFError("it is cut off")
    return data


@contextmanager
def _damage_told(image: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as damage:
        raise DownloadError(f"is damaged: {damage}", where=str(image), hint=_AGAIN) from damage
    except OSError as unreadable:
        raise DownloadError(f"cannot be read: {unreadable.strerror}", where=str(image)) from unreadable
