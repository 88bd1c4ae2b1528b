"""Write an image to a disk so that it is either all there, and read back, or does not boot.

The first MiB, where partition table and boot sector are, is zero from the first moment on, and is written when
everything else has been read back from the medium and is right.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from builder.errors import BuildError, PimuError, VerifyMismatchError
from builder.flash.source import ALIGNMENT, Source
from builder.model.manifest import Extent
from builder.model.progress import Advance, Progress

HEAD = 1024**2
PIECE = 4 * 1024**2
_FLUSH_EVERY = 256 * 1024**2
_ZEROS_AT_ONCE = 64 * 1024**2
_UNHASHED = 3  # pieces in memory
_STALL = 60  # seconds

_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.EBADF})


class Target(Protocol):
    """The disk, as far as writing needs it. All raise OSError."""

    @property
    def size(self) -> int: ...

    def write(self, offset: int, data: memoryview) -> int:
        """How much of it was written, which may be less. Offset, length and address are aligned."""

    def read(self, offset: int, length: int) -> bytes:
        """What the medium has, not what a cache remembers; at most 4 MiB."""

    def zero(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def forget_cache(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes that were written and zeroed, and how many seconds writing and reading back took."""

    data: int
    zeros: int
    writing: float
    verifying: float


def write_disk(
    source: Source, target: Target, progress: Progress, where: str, before_it_boots: Callable[[], None] = lambda: None
) -> Written:
    """`before_it_boots` is called when all but the first MiB has been read back.

    Raises BuildError when the disk fails, VerifyMismatchError when it does not keep what it is given; whatever ends
    it, an interrupt too, says that the disk is not usable."""
    ends = _outside(source.size, target.size)
    zeros = [part for extent in (*source.zeros, *ends) for part in _pieces(_clipped(extent), _ZEROS_AT_ONCE)]
    data = [part for extent in source.extents for part in _pieces(_clipped(extent), PIECE)]
    amount, nothing = (sum(end - start for start, end in parts) for parts in (data, zeros))
    with _unusable_unless_done(target, where):
        begun = time.monotonic()
        _zero_ends(target)
        with _bar(progress, "write", amount + nothing) as advance:
            digests = _write(data, source, target, advance)
            _zero(zeros, target, advance)
        target.flush()
        target.forget_cache()
        written = time.monotonic()
        with _bar(progress, "verify", amount + nothing) as advance:
            _verify(data, digests, target, advance, where)
            _verify_zeros(zeros, target, advance, where)
        before_it_boots()
        _write_head(source, target, where)
        return Written(amount + min(HEAD, source.size), nothing, written - begun, time.monotonic() - written)


def _outside(image: int, disk: int) -> list[Extent]:
    """The disk's last MiB, where a GPT has its copy, as far as the image does not reach into it."""
    start = max(image, (disk - HEAD) // ALIGNMENT * ALIGNMENT)
    return [(start, disk)] if start < disk else []


def _clipped(extent: Extent) -> Extent:
    return max(extent[0], HEAD), max(extent[1], HEAD)


def _pieces(extent: Extent, longest: int) -> Iterator[Extent]:
    """Cut at multiples of `longest`."""
    start, end = extent
    while start < end:
        cut = min(end, (start // longest + 1) * longest)
        yield start, cut
        start = cut


def _zero_ends(target: Target) -> None:
    target.zero(0, min(HEAD, target.size))
    last = max(HEAD, (target.size - HEAD) // ALIGNMENT * ALIGNMENT)
    if last < target.size:
        target.zero(last, target.size - last)
    target.flush()


def _write(parts: Sequence[Extent], source: Source, target: Target, advance: Advance) -> list[bytes]:
    """The digest of each part. The next one is read, and the last one hashed, while this one is written."""
    digests: list[Future[bytes]] = []
    unflushed = 0
    buffer = _aligned(PIECE)
    with ThreadPoolExecutor(2) as pool:
        coming = pool.submit(_read, source, parts[0]) if parts else None
        for number, (start, _) in enumerate(parts, 1):
            assert coming is not None
            data = coming.result()
            coming = pool.submit(_read, source, parts[number]) if number < len(parts) else None
            digests.append(pool.submit(_digest, data))
            buffer[: len(data)] = data
            _write_all(target, start, buffer[: len(data)])
            digests[max(0, len(digests) - _UNHASHED)].result()
            unflushed += len(data)
            if unflushed >= _FLUSH_EVERY:
                target.flush()
                unflushed = 0
            advance(len(data))
    return [digest.result() for digest in digests]


def _read(source: Source, part: Extent) -> bytes:
    start, end = part
    try:
        data = source.read(start, end - start)
    except OSError as unreadable:  # not the disk's fault
        raise BuildError(f"the image cannot be read at {start}: {unreadable.strerror}") from unreadable
    if len(data) != end - start:
        raise BuildError(f"the image ends at {start + len(data)}, before its {source.size} bytes")
    return data


def _write_all(target: Target, offset: int, data: memoryview) -> None:
    """A short write is gone on with from where the device can: at a block's start."""
    while data:
        written = target.write(offset, data)
        if written < len(data):
            written -= written % ALIGNMENT
            if written == 0:
                raise OSError(errno.EIO, "takes nothing more")
        data, offset = data[written:], offset + written


def _zero(parts: Sequence[Extent], target: Target, advance: Advance) -> None:
    for start, end in parts:
        target.zero(start, end - start)
        advance(end - start)


def _verify(parts: Sequence[Extent], digests: Sequence[bytes], target: Target, advance: Advance, where: str) -> None:
    for (start, end), digest in zip(parts, digests, strict=True):
        if _digest(target.read(start, end - start)) != digest:
            raise _does_not_keep(where, start, end)
        advance(end - start)


def _verify_zeros(parts: Sequence[Extent], target: Target, advance: Advance, where: str) -> None:
    for extent in parts:
        for start, end in _pieces(extent, PIECE):
            if target.read(start, end - start) != bytes(end - start):
                raise _does_not_keep(where, start, end)
            advance(end - start)


def _write_head(source: Source, target: Target, where: str) -> None:
    """The block with the partition table comes last: without it, the rest is nothing that boots."""
    head = source.read(0, min(HEAD, source.size))
    buffer = _aligned(HEAD)
    buffer[: len(head)] = head
    _write_all(target, ALIGNMENT, buffer[ALIGNMENT : len(head)])
    target.flush()
    _write_all(target, 0, buffer[:ALIGNMENT])
    target.flush()
    target.forget_cache()
    if target.read(0, len(head)) != head:
        raise _does_not_keep(where, 0, len(head))


def _does_not_keep(where: str, start: int, end: int) -> VerifyMismatchError:
    text = f"reads back other bytes than were written, at {start}-{end - 1}: it is broken, or smaller than it says"
    return VerifyMismatchError(text, where=where, hint="do not trust it with another image")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _aligned(size: int) -> memoryview:
    """Direct I/O wants pages."""
    return memoryview(mmap.mmap(-1, size))


@contextmanager
def _unusable_unless_done(target: Target, where: str) -> Iterator[None]:
    try:
        yield
    except BaseException as stopped:
        with contextlib.suppress(OSError):
            target.zero(0, min(HEAD, target.size))
            target.flush()
        unusable = f"{where} is not usable: it holds a part of the image and does not boot; flash it again"
        if isinstance(stopped, OSError):
            raise _failure(stopped, where) from stopped
        if isinstance(stopped, PimuError):
            stopped.hint = "; ".join(filter(None, (stopped.hint, unusable)))
        stopped.add_note(unusable)
        raise


def _failure(error: OSError, where: str) -> BuildError:
    """Not as an OSError: a full device is no folder that room could be made in."""
    if error.errno in _GONE:
        text = "is gone: unplugged, or it has stopped answering"
    elif error.errno == errno.ENOSPC:
        text = "ends before the size that it tells"
    else:
        text = f"fails: {error.strerror or error}"
    hint = "it is not usable: look at cable, power and `dmesg`, and flash it again"
    return BuildError(text, where=where, hint=hint)


@contextmanager
def _bar(progress: Progress, name: str, total: int) -> Iterator[Advance]:
    """A bar, and a line when a minute has brought it no further: the kernel may wait for a dying disk for long."""
    moved, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not moved.wait(_STALL) and not done.is_set():
                progress.step(name, f"no progress for {_STALL} s; the disk may be failing, `dmesg` knows")
            moved.clear()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with progress.bar(name, total=total) as advance:

            def moving(amount: int) -> None:
                moved.set()
                advance(amount)

            yield moving
    finally:
        done.set()
        moved.set()
        watcher.join()
