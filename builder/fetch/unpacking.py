"""The raw image in a published file: .xz, .zst, .gz, .zip or the image itself. Sparse, hashed, and bounded: a file that
unpacks to more than its pin says is not unpacked.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from builder import limits
from builder.errors import DownloadError
from builder.host.run import PIPE, kill, start
from builder.model.progress import Progress

TOOLS = ("gzip", "xz", "zstd")

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    struct.error,
)
_ZIP_TAIL = 22 + 0xFFFF + 20 + 56
"""Bytes of a zip's last records, with the longest comment."""
_IN_ZIP64 = 0xFFFFFFFF
"""In the place of a size that the record of zip64 has."""
_HINT = "the file is the one that its base's profile pins: pin another one there"
_MAGICS = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
_COMMANDS = {
    # All threads where the file has blocks to share; a dictionary of 4 GiB is no image's.
    "xz": ("xz", "--decompress", "--stdout", "--threads=0", "--memlimit-decompress=1GiB"),
    "zstd": ("zstd", "--decompress", "--stdout", "--quiet", f"--memory={limits.WINDOW >> 20}MiB"),
    "gzip": ("gzip", "--decompress", "--stdout"),
}


def unpack(file: Path, image: Path, *, size: int | None, sha256: str | None, where: str, progress: Progress) -> str:
    """Write the raw image; its sha256. `size` (bytes) and `sha256` are those of the raw image, where they are known.

    Raises DownloadError, at `where`: damaged, longer or shorter than its pin, no image in it.
    """
    most, length, digest = size or limits.IMAGE, 0, hashlib.sha256()
    with (
        progress.bar("unpack", total=size or 0) as advance,
        _opened(file, where, is_pinned=sha256 is not None) as stream,
        # Buffered, for an unbuffered write may be short when the disk is full. It may hold secrets, whatever the umask.
        os.fdopen(os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as raw,
    ):
        while chunk := stream.read(_CHUNK):
            length += len(chunk)
            if length > most:
                raise DownloadError(f"unpacks to more than the {most} bytes of its pin", where=where, hint=_HINT)
            digest.update(chunk)
            if chunk == _ZEROS[: len(chunk)]:
                raw.seek(len(chunk), 1)
            else:
                raw.write(chunk)
            advance(len(chunk))
        raw.truncate(length)
    if size is not None and length != size:
        raise DownloadError(f"unpacks to {length} bytes, its pin says {size}", where=where, hint=_HINT)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise DownloadError(f"unpacks to sha256 {digest.hexdigest()}, its pin says {sha256}", where=where, hint=_HINT)
    return digest.hexdigest()


@contextmanager
def _opened(file: Path, where: str, *, is_pinned: bool) -> Iterator[IO[bytes]]:
    with file.open("rb", buffering=0) as packed:  # the position is the one that a tool inherits
        head = packed.read(8)
        packed.seek(0)
        kind = next((name for magic, name in _MAGICS.items() if head.startswith(magic)), "")
        if head.startswith(b"PK\x03\x04"):
            with _member(packed, where) as stream:
                yield stream
        elif kind:
            # A CRC of each block adds nothing to the sha256 of all, and costs a tenth of the time.
            unchecked = ("--ignore-check",) if is_pinned and kind == "xz" else ()
            with _unpacked(packed, (*_COMMANDS[kind], *unchecked), where) as stream:
                yield stream
        else:
            yield packed


@contextmanager
def _member(packed: IO[bytes], where: str) -> Iterator[IO[bytes]]:
    """The one image in a zip, whatever its name: it is no file's name here."""
    _require_small_directory(packed, where)
    try:
        with zipfile.ZipFile(packed) as archive:
            images = [member for member in archive.infolist() if member.filename.lower().endswith(".img")]
            if len(images) != 1:
                raise DownloadError(f"holds {len(images)} images", where=where, hint=_HINT)
            with archive.open(images[0]) as stream:
                yield stream
    except OSError as broken:
        if broken.errno != errno.EINVAL:  # a position before the file's beginning
            raise
        raise DownloadError("is damaged: no zip", where=where, hint=_HINT) from broken
    except _DAMAGE as broken:
        raise DownloadError(f"is damaged: {broken}", where=where, hint=_HINT) from broken


def _require_small_directory(packed: IO[bytes], where: str) -> None:
    """zipfile reads the whole directory, as long as one of the zip's last records says (APPNOTE, 4.3.14 and 4.3.16)."""
    size = packed.seek(0, os.SEEK_END)
    packed.seek(0)
    tail = os.pread(packed.fileno(), _ZIP_TAIL, max(0, size - _ZIP_TAIL))
    for magic, offset, form in ((b"PK\5\6", 12, "<I"), (b"PK\6\6", 40, "<Q")):
        for found in re.finditer(re.escape(magic), tail):
            field = tail[found.start() + offset :][: struct.calcsize(form)]
            told = struct.unpack(form, field)[0] if len(field) == struct.calcsize(form) else 0
            if told > limits.ZIP_DIRECTORY and not (told == _IN_ZIP64 and b"PK\6\6" in tail):
                raise DownloadError(f"is damaged: its directory has {told} bytes", where=where, hint=_HINT)


@contextmanager
def _unpacked(packed: IO[bytes], command: Sequence[str], where: str) -> Iterator[IO[bytes]]:
    process = start(command, stdin=packed, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with suppress(OSError):  # a user may have only so much of them; the tool need not wait while we hash and write
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _CHUNK)
    try:
        yield process.stdout
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise DownloadError(f"is damaged: {said or command[0]}", where=where, hint=_HINT)
    finally:
        kill(process)
        process.stdout.close()
        process.stderr.close()
