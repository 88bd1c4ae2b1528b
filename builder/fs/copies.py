"""A copy of an image in the time that the page cache needs for it: holes are passed over, and the kernel lets one
thread write to a file while another reads the next bytes. Half a second of cp(1) becomes a third.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.errors import BuildError
from builder.fs.chunks import data_extents
from builder.host.run import stopping

_FICLONE = 0x40049409
"""ioctl_ficlone(2): share the blocks, where the file system can."""
_STEP = 1 << 20
_THREADS = 2


def copy_sparse(source: Path, target: Path) -> None:
    """Make `target`, readable for its owner only: it may come to hold a password's hash.

    Raises OSError with the target's name; FileExistsError when it is there; BuildError when the build is told to end.
    """
    try:
        with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
            os.fchmod(new.fileno(), 0o600)
            with contextlib.suppress(OSError):
                fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
                return
            size = os.fstat(old.fileno()).st_size
            os.truncate(new.fileno(), size)
            steps = iter(list(_steps(old.fileno(), size)))
            with ThreadPoolExecutor(_THREADS) as pool:
                pending = [pool.submit(_copy, steps, old.fileno(), new.fileno()) for _ in range(_THREADS)]
            for future in pending:
                future.result()
    except OSError as error:
        error.filename = error.filename or str(target)
        raise
    if stopping.is_set():
        raise BuildError("stopped while it was copied", where=str(target))


def _steps(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    for start, end in data_extents(descriptor, size):
        for offset in range(start, end, _STEP):
            yield offset, min(_STEP, end - offset)


def _copy(steps: Iterator[tuple[int, int]], old: int, new: int) -> None:
    buffer = memoryview(bytearray(_STEP))
    for offset, length in steps:  # shared by the threads
        if stopping.is_set():
            return
        read = os.preadv(old, [buffer[:length]], offset)
        if read != length:
            raise BuildError("ended early while it was copied", hint="another program may be writing to it")
        _write(new, buffer[:length], offset)


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    """A write may be short when the disk is full; the next one says so."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
