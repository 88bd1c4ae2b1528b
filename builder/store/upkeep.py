"""The cache as a whole, for its owner: what is in it, is it whole, what may go.

Downloads are `sha256/<hex>` (builder.fetch), made things `<kind>/<key>/` (builder.store.products). Builds hold a shared
kernel lock on the folder while they run, and pruning takes it alone, so that nothing vanishes under a build.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BusyError
from builder.fetch import Cache
from builder.fetch.cache import sha256_of
from builder.host import scratch
from builder.limits import GIB
from builder.model.progress import Progress
from builder.store.products import WORK, Store, about_of, is_whole

_DOWNLOADS = "sha256"
_LOCK = ".lock"
_BLOCK = 512  # st_blocks, see stat(2)


@dataclass(frozen=True, slots=True)
class Entry:
    """`size` is its room on the disk, in bytes; `used` the Unix time of the last use; `what` the name that people
    call a made thing by, "" for a download and where none is known."""

    kind: str
    name: str
    path: Path
    size: int
    used: float
    what: str = ""

    @property
    def is_download(self) -> bool:
        return self.kind == _DOWNLOADS


def default_root() -> Path:
    """$PIMU_CACHE, else pimu-build in the XDG cache directory (~/.cache)."""
    if chosen := os.environ.get("PIMU_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "pimu-build"


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Held by a build from beginning to end, which begins without the leftovers of killed ones: a build that finds all
    made would otherwise leave it there. Raises BusyError while the cache is being pruned."""
    with _locked(root, fcntl.LOCK_SH, "the cache is being pruned"):
        scratch.sweep()
        scratch.sweep_folder(root / WORK)
        yield


def entries(root: Path) -> list[Entry]:
    """Everything in the cache, the longest unused first."""
    kinds = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    found = [_entry(folder.name, path) for folder in kinds for path in folder.iterdir() if _is_entry(path)]
    return sorted(found, key=lambda entry: (entry.used, entry.kind, entry.name))


def damaged(root: Path, progress: Progress) -> list[Entry]:
    """Downloads whose content does not agree with their name, and products that have changed since they were made."""
    bad = []
    present = entries(root)
    with progress.bar("cache", total=sum(entry.size for entry in present)) as advance:
        for entry in present:
            if not _is_whole(entry):
                bad.append(entry)
            advance(entry.size)
    return bad


def remove(root: Path, unwanted: list[Entry]) -> None:
    """Also removes the leftovers of killed runs, in the cache and outside of it, older versions' too. Raises BusyError
    while a build runs."""
    with _locked(root, fcntl.LOCK_EX, "a build is using the cache"):
        scratch.sweep()
        for left in (root / WORK).glob("*"):
            scratch.remove(left) if left.is_dir() else left.unlink()
        for entry in unwanted:
            if entry.path.is_dir():
                Store(root).remove(entry.path)
            else:
                entry.path.unlink()
            entry.path.with_suffix(_LOCK).unlink(missing_ok=True)


def remove_damaged(root: Path, path: Path) -> None:
    """One thing that a build has found to be damaged, under that build and others."""
    if path.parent.name == _DOWNLOADS:
        Cache(root).remove_damaged(path.name)
    else:
        Store(root).remove_damaged(path)


def unused(root: Path, days: float | None, gib: float | None = None) -> list[Entry]:
    """Entries that no build has used for `days`, and as many of the longest unused as are beyond `gib` GiB."""
    oldest = -1.0 if days is None else time.time() - days * 86400
    present = entries(root)
    excess = 0.0 if gib is None else sum(entry.size for entry in present) - gib * GIB
    found = []
    for entry in present:
        if entry.used <= oldest or excess > 0:
            found.append(entry)
            excess -= entry.size
    return found


@contextmanager
def _locked(root: Path, mode: int, otherwise: str) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
        yield
    except BlockingIOError as busy:
        raise BusyError(otherwise, where=str(root), hint="try again when it has ended") from busy
    finally:
        os.close(handle)


def _is_entry(path: Path) -> bool:
    return path.parent.name != WORK and path.suffix == ""


def _entry(kind: str, path: Path) -> Entry:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    size = sum(file.lstat().st_blocks * _BLOCK for file in files)
    what = str(about_of(path).get("name", "")) if path.is_dir() else ""
    return Entry(kind, path.name, path, size, path.stat().st_mtime, what)


def _is_whole(entry: Entry) -> bool:
    if entry.is_download:
        return sha256_of(entry.path) == entry.name
    return is_whole(entry.path)
