"""Write an image to a disk. The disk boots only if the whole image was written and read back.

The first MiB has the partition table and the boot sector. It is zeroed first, and written last, when everything else
has been read back from the medium.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, groupby
from typing import Protocol

from builder.errors import BuildError, PimuError, VerifyMismatchError
from builder.flash.source import ALIGNMENT, Source
from builder.limits import MIB
from builder.model.manifest import CHUNK_SIZE, Extent
from builder.model.progress import Advance, Progress

HEAD = 1 * MIB
_ZEROS_AT_ONCE = 64 * MIB
_READ_AHEAD = 3  # chunks in memory, in addition to those that are being read
_HASHERS = 2
_STALL = 60  # seconds

_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.EBADF})


class Target(Protocol):
    """The operations on a disk that writing needs. All of them raise OSError."""

    @property
    def size(self) -> int: ...

    def write(self, offset: int, data: memoryview) -> int:
        """Write, and return the number of written bytes, which may be less than the length. Offset, length and address
        are aligned."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from the medium, not from a cache, and return the number of bytes. Aligned as in `write`."""

    def zero(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def forget_cache(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Written:
    """Numbers of written and zeroed bytes, and the seconds for writing and for reading back."""

    data: int
    zeros: int
    writing: float
    verifying: float


def write_disk(
    source: Source, target: Target, progress: Progress, where: str, before_it_boots: Callable[[], None] = lambda: None
) -> Written:
    """Write the image, and read it back. `before_it_boots` is called when all but the first MiB has been read back.

    Raises BuildError when the disk fails, VerifyMismatchError when it does not keep its bytes. Every error, and an
    interrupt too, says that the disk is not usable.
    """
    ends = _outside(source.size, target.size)
    zeros = [part for extent in (*source.zeros, *ends) for part in _pieces(_clipped(extent), _ZEROS_AT_ONCE)]
    head = (0, min(HEAD, source.size))
    data = [part for extent in source.extents for part in _pieces(_clipped(extent), CHUNK_SIZE)]
    amount, nothing = (sum(end - start for start, end in parts) for parts in (data, zeros))
    with _unusable_unless_done(target, where):
        begun = time.monotonic()
        _zero_ends(target)
        with _bar(progress, "write", amount + nothing) as advance:
            first, kept = _write([head, *data], source, target, advance)
            _zero(zeros, target, advance)
        target.flush()
        target.forget_cache()
        written = time.monotonic()
        with _bar(progress, "verify", amount + nothing) as advance:
            _verify([*kept, *_known_zeros(zeros)], target, advance, where)
        before_it_boots()
        _write_head(first, target, where)
        return Written(head[1] + amount, nothing, written - begun, time.monotonic() - written)


def _outside(image: int, disk: int) -> list[Extent]:
    """The part of the disk's last MiB that is after the image. A GPT has its copy there."""
    start = max(image, (disk - HEAD) // ALIGNMENT * ALIGNMENT)
    return [(start, disk)] if start < disk else []


def _clipped(extent: Extent) -> Extent:
    return max(extent[0], HEAD), max(extent[1], HEAD)


def _pieces(extent: Extent, longest: int) -> Iterator[Extent]:
    """The extent, cut at multiples of `longest` bytes."""
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


_Digests = list[tuple[Extent, bytes]]


def _write(parts: Sequence[Extent], source: Source, target: Target, advance: Advance) -> tuple[memoryview, _Digests]:
    """Write all parts but the first. Returns the data of the first part, and the digests of the others. While one chunk
    is written, the next ones are read."""
    first, digests = _aligned(HEAD)[: parts[0][1]], []
    chunks = (list(group) for _, group in groupby(parts, lambda part: part[0] // CHUNK_SIZE))
    with ThreadPoolExecutor(source.readers) as pool:
        pending: deque[tuple[list[Extent], memoryview, Future[list[bytes]]]] = deque()

        def read_next(buffer: memoryview) -> None:
            if chunk := next(chunks, None):
                pending.append((chunk, buffer, pool.submit(source.read, chunk, buffer)))

        try:
            for _ in range(source.readers + _READ_AHEAD):
                read_next(_aligned(CHUNK_SIZE))
            while pending:
                chunk, buffer, reading = pending.popleft()
                for part, digest in zip(chunk, reading.result(), strict=True):
                    data = buffer[part[0] % CHUNK_SIZE :][: part[1] - part[0]]
                    if part == parts[0]:
                        first[:] = data
                    else:
                        _write_all(target, part[0], data)
                        digests.append((part, digest))
                        advance(len(data))
                read_next(buffer)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return first, digests


def _write_all(target: Target, offset: int, data: memoryview) -> None:
    """Write all data. After a short write, continue at the start of a block, because the device needs alignment."""
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


def _known_zeros(parts: Iterable[Extent]) -> Iterator[tuple[Extent, bytes]]:
    known: dict[int, bytes] = {}
    for extent in parts:
        for start, end in _pieces(extent, CHUNK_SIZE):
            length = end - start
            yield (start, end), known.get(length) or known.setdefault(length, _digest(bytes(length)))


def _verify(parts: _Digests, target: Target, advance: Advance, where: str) -> None:
    """Compare the parts on the medium with their digests. While one part is read, earlier ones are hashed. Raises
    VerifyMismatchError."""
    with ThreadPoolExecutor(_HASHERS) as pool:
        pending: deque[tuple[Extent, bytes, Future[bytes]]] = deque()

        def compare() -> None:
            (start, end), digest, hashing = pending.popleft()
            if hashing.result() != digest:
                raise _does_not_keep(where, start, end)
            advance(end - start)

        buffers = [_aligned(CHUNK_SIZE) for _ in range(_HASHERS + 1)]
        for (part, digest), buffer in zip(parts, cycle(buffers), strict=False):
            if len(pending) == len(buffers):
                compare()
            got = target.read_into(part[0], buffer[: part[1] - part[0]])
            pending.append((part, digest, pool.submit(_digest, buffer[:got])))
        while pending:
            compare()


def _write_head(head: memoryview, target: Target, where: str) -> None:
    """Write the first MiB, the block with the partition table last: without this block the disk does not boot."""
    _write_all(target, ALIGNMENT, head[ALIGNMENT:])
    target.flush()
    _write_all(target, 0, head[:ALIGNMENT])
    target.flush()
    target.forget_cache()
    back = _aligned(HEAD)[: len(head)]
    if target.read_into(0, back) != len(head) or back != head:
        raise _does_not_keep(where, 0, len(head))


def _does_not_keep(where: str, start: int, end: int) -> VerifyMismatchError:
    text = f"reads back other bytes than were written, at {start}-{end - 1}: it is broken, or smaller than it says"
    return VerifyMismatchError(text, where=where, hint="do not trust it with another image")


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def _aligned(size: int) -> memoryview:
    """A page-aligned buffer, as direct I/O needs it."""
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
        if isinstance(stopped, OSError | VerifyMismatchError) and _is_gone(target):
            raise _failure(OSError(errno.ENODEV, ""), where) from stopped
        if isinstance(stopped, OSError):
            raise _failure(stopped, where) from stopped
        if isinstance(stopped, PimuError):
            stopped.hint = "; ".join(filter(None, (stopped.hint, unusable)))
        stopped.add_note(unusable)
        raise


def _is_gone(target: Target) -> bool:
    """Whether the disk was unplugged. Linux then reports a size of 0 bytes; writes find no room, and reads return
    nothing."""
    try:
        return target.size == 0
    except OSError:
        return True


def _failure(error: OSError, where: str) -> BuildError:
    """The BuildError for a failed disk. An OSError such as ENOSPC would be taken for a full folder."""
    if error.errno in _GONE:
        text = "is gone: unplugged, or it has stopped answering"
    elif error.errno == errno.ENOSPC:
        text = "ends before the size that it tells"
    elif error.errno == errno.ENODATA:  # Linux's number for a medium error
        text = "has sectors that cannot be read or written"
    else:
        text = f"fails: {error.strerror or error}"
    hint = "it is not usable: look at cable, power and `dmesg`, and flash it again"
    return BuildError(text, where=where, hint=hint)


@contextmanager
def _bar(progress: Progress, name: str, total: int) -> Iterator[Advance]:
    """A progress bar. After a minute without progress it prints a line: the kernel may wait long for a failing disk."""
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
