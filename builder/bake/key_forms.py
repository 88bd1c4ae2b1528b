"""Find private keys in bytes, in files of any name, and in compressed files.

A key as text has a mark, and is found anywhere. A key in DER has no mark. It is searched for only at the beginning of
files and of members of a tar, and the library cryptography decides whether it is a key.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import zstandard
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key

from builder import limits
from builder.bake.identities import text_key_in
from builder.errors import BuildError, ConfigurationError

STEP = 512
"""Bytes: the smallest block of a filesystem, and the block of a tar."""
_MARKS = (b"PRIVATE KEY", b"OpenVPN Static key V1", b"PuTTY-User-Key-File-", b"AGE-SECRET-KEY-1", b"PrivateKey")
_BEFORE, _AFTER = 64, 512
_FIRSTS = re.compile(rb"[\x1f(0B\xfd]")
"""The first bytes of DER keys, dropbear keys and compressed files."""
_SEQUENCE = re.compile(rb"\x30(?:([\x20-\x7f])|\x81(.)|\x82(..))", re.DOTALL)
_BODY = re.compile(
    rb"\x02\x01[\x00\x01][\x02\x04\x30]"  # PKCS #1 (RFC 8017), SEC 1 (RFC 5915), PKCS #8 (RFC 5208): version, then more
    rb"|\x30(?:\x81.|.)\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05|\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01)",
    re.DOTALL,
)
"""The bytes after that head. The second form is PKCS #8 with a password (RFC 5958), by PKCS #5 or #12."""
_AT_ONCE = 1 << 20
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def keys_and_packed(file: Path) -> tuple[set[int], set[int]]:
    """Offsets in a file: beginnings of private keys, and possible beginnings of compressed data."""
    if file.stat().st_size == 0:
        return set(), set()
    keys, packed = set(), set()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, end in _data(opened.fileno(), len(content)):
            keys |= set(_text_keys(content, start, end))
            first = -(-start // STEP) * STEP
            for found in _FIRSTS.finditer(content[first:end:STEP]):
                at = first + found.start() * STEP
                if _is_der_key(content, at):
                    keys.add(at)
                elif _opener(content[at : at + 10]) is not None:
                    packed.add(at)
    return keys, packed


def unpack(file: Path, to: Path, most: int, where: str) -> int:
    """Write the content of a compressed file to `to`, and return its size in bytes; 0 for a file that is not
    compressed.

    If the file is damaged, the bytes before the damage are written. Raises, at `where`, ConfigurationError for more
    than `most` bytes, and BuildError when nothing can be unpacked.
    """
    with file.open("rb") as packed, to.open("wb") as unpacked:
        opener = _opener(packed.read(10))
        packed.seek(0)
        length, damage = 0, ""
        try:
            for chunk in opener(packed) if opener is not None else ():
                length += len(chunk)
                if length > most:
                    raise ConfigurationError(
                        f"unpacks to more than {most} bytes, too many to look for private keys in them",
                        where=where,
                        hint="leave it out of the image, or put it there unpacked",
                    )
                unpacked.write(chunk)
        except _DAMAGE as broken:
            damage = str(broken)
    if opener is not None and damage and not length:
        raise BuildError(f"cannot be unpacked, to look for private keys in it: {damage}", where=where)
    return length


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each part of a file between its holes (lseek(2)). A guest's disk is mostly holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _text_keys(content: mmap.mmap, begin: int, end: int) -> Iterator[int]:
    for mark in _MARKS:
        at = content.find(mark, begin, end)
        while at >= 0:
            # The bytes before a file's first line belong to another file, and need not end a line.
            for start in (max(0, at - _BEFORE), at):
                if (key := text_key_in(content[start : at + _AFTER])) is not None:
                    yield start + key
            at = content.find(mark, at + len(mark), end)


def _is_der_key(content: mmap.mmap, at: int) -> bool:
    head = _SEQUENCE.match(content[at : at + 4])
    if head is None:
        return False
    start = at + head.end()
    if not _BODY.match(content[start : start + 16]):
        return False
    length = int.from_bytes(head[1] or head[2] or head[3], "big")
    try:
        load_der_private_key(content[at : start + length], None)
    except (UnsupportedAlgorithm, TypeError):  # an unknown kind of key; a key with a password
        return True
    except ValueError:
        return False
    return True


def _opener(head: bytes) -> Callable[[IO[bytes]], Iterator[bytes]] | None:
    return next((opener for magic, opener in _OPENERS.items() if magic.match(head)), None)


def _pieces(stream: gzip.GzipFile | bz2.BZ2File | zstandard.ZstdDecompressionReader) -> Iterator[bytes]:
    while chunk := stream.read1(_AT_ONCE):  # read() would keep the bytes before damage
        yield chunk


def _gzip(packed: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=packed) as stream:
        yield from _pieces(stream)


def _bzip2(packed: IO[bytes]) -> Iterator[bytes]:
    with bz2.BZ2File(packed) as stream:
        yield from _pieces(stream)


def _zstd(packed: IO[bytes]) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=limits.WINDOW)
    with reader.stream_reader(packed, read_across_frames=True, closefd=False) as stream:
        yield from _pieces(stream)


def _xz(packed: IO[bytes]) -> Iterator[bytes]:
    """Unpack one stream after the other. lzma.LZMAFile would allow any dictionary, even one of 4 GiB."""
    rest = packed.read(_AT_ONCE)
    while rest:
        reader = lzma.LZMADecompressor(memlimit=limits.XZ_MEMORY)
        while not reader.eof:
            yield reader.decompress(rest, _AT_ONCE)
            rest = packed.read(_AT_ONCE) if reader.needs_input else b""
            if reader.needs_input and not rest:
                raise EOFError("ends too early")
        rest = (reader.unused_data or packed.read(_AT_ONCE)).lstrip(b"\0")


_OPENERS = {
    re.compile(rb"\x1f\x8b\x08"): _gzip,
    re.compile(rb"\x28\xb5\x2f\xfd"): _zstd,
    re.compile(rb"\xfd7zXZ\0"): _xz,
    re.compile(rb"BZh[1-9]1AY&SY"): _bzip2,
}
