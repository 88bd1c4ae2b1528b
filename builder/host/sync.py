"""Write back the pages that one filesystem still holds in memory, and leave the other disks of the host alone."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path


def sync_filesystem(path: Path) -> None:
    """Wait until everything in the filesystem of `path`, a file or folder, is on its disk (syncfs(2)).

    sync(2) waits for every disk: a slow USB disk that somebody writes to would hold up each product of a build.
    Raises OSError where the disk has failed to write.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _syncfs()(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


@functools.cache
def _syncfs() -> Callable[[int], int]:
    return ctypes.CDLL(None, use_errno=True).syncfs
