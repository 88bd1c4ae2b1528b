"""Kernel locks that several builds share. They die with their holder, so that nothing has to be cleared away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from builder.errors import BuildError
from builder.run import stopping

_LOOK = 0.5  # seconds


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for the lock, however long its holder works, but not on when this build is told to end (BuildError)."""
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=_LOOK)
            break
        except Timeout:
            if stopping.is_set():
                raise BuildError("stopped while waiting for another build", where=str(path)) from None
    try:
        yield
    finally:
        lock.release()
