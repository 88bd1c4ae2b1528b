"""pimu.lock on the disk: read strictly, written by rename, by one at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from builder.errors import ConfigurationError
from builder.locks import held
from builder.model.lock import REMEDY, Lock, from_text, to_text
from builder.room import told_when_full

LOCK_FILE = "pimu.lock"


def read_lock(path: Path) -> Lock:
    """An empty one where there is no file. Raises ConfigurationError."""
    try:
        return from_text(path.read_text("utf-8"), path.name) if path.exists() else Lock()
    except UnicodeDecodeError as broken:
        raise ConfigurationError(f"is not a lock file ({broken})", where=path.name, hint=REMEDY) from broken


def write_lock(path: Path, lock: Lock) -> None:
    """By one at a time: see `locked`. Raises DiskFullError."""
    fresh = path.with_name(f".{path.name}.new")  # one name: whoever holds the lock writes over what the killed left
    with told_when_full(path.parent, "make room there: what was resolved is to be written into the lock"):
        try:
            fresh.write_text(to_text(lock), "utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def locked(path: Path) -> AbstractContextManager[None]:
    """Two builds may have an answer for the same lock at once; none may be lost."""
    return held(path.with_name(f".{path.name}.lock"))
