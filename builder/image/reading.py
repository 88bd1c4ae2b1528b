"""Read a compressed image chunk by chunk, without an unpacked file.

Our images have one frame for each chunk (`frames.py`), so single chunks can be unpacked, in several threads. An image
from elsewhere is unpacked from its beginning. Before unpacking, the structure of the file tells whether it is complete,
and the size of the image.
"""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from builder import limits
from builder.errors import DownloadError, VerifyMismatchError
from builder.image.structure import Frame, Parts, bytes_at, xz_streams, zst_frames
from builder.model.manifest import CHUNK_SIZE, ImageFacts

_READERS = min(4, max(2, os.cpu_count() or 1))
_AT_ONCE = 1 << 20
_DAMAGE = (lzma.LZMAError, zstandard.ZstdError, EOFError)
_AGAIN = "build the image again"


class Chunks(Protocol):
    """`readers` is the number of threads that may read in parallel. If it is 1, chunks must be read in order."""

    @property
    def readers(self) -> int: ...

    def read(self, number: int, buffer: memoryview) -> int:
        """Write a chunk into the buffer, and return its length in bytes. Raises DownloadError when the file is
        damaged."""


@contextmanager
def compressed_chunks(image: Path, facts: ImageFacts, end: int) -> Iterator[Chunks]:
    """The chunks of an image that begin before `end`.

    Raises DownloadError when the file is truncated or damaged, VerifyMismatchError when its image has another size.
    """
    is_xz = image.suffix == ".xz"
    with image.open("rb", buffering=0) as file:
        with _damage_told(image):
            parts = Parts(1024 + facts.size // limits.FRAME_SHARE)
            frames = (xz_streams if is_xz else zst_frames)(file.fileno(), os.fstat(file.fileno()).st_size, parts)
        sizes = [frame.unpacked for frame in frames]
        length = sum(size for size in sizes if size is not None)
        if None not in sizes and length != facts.size:
            text = f"unpacks to {length} bytes, and its manifest says {facts.size}"
            raise VerifyMismatchError(text, where=str(image), hint=_AGAIN)
        longest = max((frame.end - frame.start for frame in frames), default=0)
        chunks = [min(CHUNK_SIZE, facts.size - start) for start in range(0, facts.size, CHUNK_SIZE)]
        if sizes == chunks and longest <= CHUNK_SIZE + limits.FRAME_EXCESS:
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
            packed = bytes_at(self.descriptor, frame.start, frame.end - frame.start)
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
        """Read the file to its end, because a checksum may be there."""
        while self._next * CHUNK_SIZE < self._size:
            self._take(buffer)
        with _damage_told(self._image):
            if self._stream.read(1):
                raise EOFError(f"it unpacks to more than the {self._size} bytes of its manifest")


class _XzStream:
    """Like lzma.LZMAFile, but with a limit for the memory that a file may require."""

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
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.WINDOW)


def _unpacked_xz(packed: bytes) -> bytes:
    return _xz_decoder().decompress(packed, CHUNK_SIZE + 1)


def _zst_stream(file: BinaryIO) -> _Stream:
    decoder = zstandard.ZstdDecompressor(max_window_size=limits.WINDOW)
    return decoder.stream_reader(file, read_across_frames=True, closefd=False)


def _unpacked_zst(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=limits.WINDOW).decompress(packed)


@contextmanager
def _damage_told(image: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as damage:
        raise DownloadError(f"is damaged: {damage}", where=str(image), hint=_AGAIN) from damage
    except OSError as unreadable:
        raise DownloadError(f"cannot be read: {unreadable.strerror}", where=str(image)) from unreadable
