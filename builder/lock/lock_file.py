"""pimu.lock on disk. It is read strictly and replaced by a rename. One process at a time writes it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError
from builder.host import files
from builder.host.file_lock import held
from builder.host.free_space import told_when_full
from builder.model.lock import REMEDY, Lock, from_text, to_text

LOCK_FILE = "pimu.lock"


def read_lock(path: Path) -> Lock:
    """The lock, which is empty if there is no file. Raises ConfigurationError for a file that is no lock."""
    try:
        if not os.path.lexists(path):
            return Lock()
        return from_text(files.read_inside(path.parent, path.name, limits.LOCK).decode(), path.name)
    except UnicodeDecodeError as broken:
        raise ConfigurationError(f"is not a lock file ({broken})", where=path.name, hint=REMEDY) from broken


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the file. The caller holds `locked`. Raises DiskFullError."""
    with told_when_full(path.parent, "make room there: what was resolved is to be written into the lock"):
        for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}.tmp"):
            left.unlink()  # a killed build left it: nobody else writes while the lock is held
        files.replace(path, to_text(lock).encode())


def locked(path: Path) -> AbstractContextManager[None]:
    """Hold the right to write the lock file. Two builds may add to it at once, and no addition may be lost."""
    return held(path.with_name(f".{path.name}.lock"))
