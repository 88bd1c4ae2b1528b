"""Kernel locks that several builds share. They die with their holder, so that nothing has to be cleared away."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from builder.errors import BuildError, BusyError, ConfigurationError
from builder.host.run import stopping

_LOOK = 0.5  # seconds


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for the lock, however long its holder works, but not on when this build is told to end (BuildError).

    Raises ConfigurationError for a symlink in its place.
    """
    while True:
        try:
            lock = _acquired(path, _LOOK)
            break
        except Timeout:
            if stopping.is_set():
                raise BuildError("stopped while waiting for another build", where=str(path)) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held_at_once(path: Path) -> Iterator[None]:
    """Raises BusyError when somebody else has the lock, and ConfigurationError for a symlink in its place."""
    try:
        lock = _acquired(path, 0)
    except Timeout as busy:
        raise BusyError("another build has it", where=str(path), hint="wait for it") from busy
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, seconds: float) -> FileLock:
    """filelock, from 3.20.1 on, opens with O_NOFOLLOW: ELOOP (open(2))."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ConfigurationError("is a symlink, and is not followed", where=str(path), hint="remove it") from error
    return lock
