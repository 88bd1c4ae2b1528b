"""Room on the disk: asked for before a copy, and told about in one line when it ends in the middle of anything."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import BuildError, DiskFullError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HEADROOM = 64 << 20
_FULL = 1 << 20
"""Bytes free below which a tool's failure is taken for the full disk's: mke2fs speaks of a short write only."""


def require_room(folder: Path, copied: Path, hint: str) -> None:
    """Raises DiskFullError unless a copy of this file, without its holes, has room in the folder."""
    needed = copied.stat().st_blocks * 512 + _HEADROOM
    free = shutil.disk_usage(folder).free
    if free < needed:
        said = f"has {free >> 20} MiB free, and an image takes {needed >> 20} MiB"
        raise DiskFullError(said, where=str(folder), hint=hint)


@contextmanager
def told_when_full(folder: Path, hint: str) -> Iterator[None]:
    """Work that writes into the folder. Raises DiskFullError, which names it, for whatever a full disk looks like."""
    try:
        yield
    except (OSError, BuildError, DiskFullError) as error:
        if not _is_of_a_full_disk(error, folder):
            raise
        raise DiskFullError("no room is left on its disk", where=str(folder), hint=hint) from error


def _is_of_a_full_disk(error: OSError | BuildError | DiskFullError, folder: Path) -> bool:
    match error:
        case DiskFullError():
            return not error.where
        case OSError():
            return error.errno in NO_ROOM
    return shutil.disk_usage(folder).free < _FULL
