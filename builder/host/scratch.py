"""Folders for a while. A later run removes the folders of a run that was killed.

A run holds the kernel lock of its folder (flock(2)), and the kernel drops the lock when the run ends. Age decides
nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.host.sandbox import remove_tree

PRIVATE, BOOT, VERIFY, PRODUCT = "pimu-private-", "pimu-boot-", "pimu-fsck-", "pimu-product-"
_KINDS = (PRIVATE, BOOT, VERIFY, PRODUCT)
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the names in it are random, and nobody else's
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for secrets on their way, in memory where there is room for files in it (shm_overview(7))."""
    with scratch_folder(PRIVATE, _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None) as folder:
        yield folder


@contextmanager
def scratch_folder(kind: str, folder: Path | None = None) -> Iterator[Path]:
    """A new folder in `folder`, else in the system's own for temporary files. It is for its owner alone, and gone
    afterwards, unless it was renamed. `kind` is one of the constants above."""
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    sweep_folder(folder)
    path, guard = _guarded(kind, folder)
    try:
        yield path
    finally:
        with suppress(OSError):
            remove(path)
        os.close(guard)


def sweep() -> None:
    """Remove the leftovers of this user's killed runs in memory and in the system's folder for temporary files."""
    for folder in {_IN_MEMORY, Path(tempfile.gettempdir())}:
        sweep_folder(folder)


def sweep_folder(folder: Path) -> None:
    """Remove them from one folder. Others may write to it too: a folder that is not ours is left alone."""
    for path in (path for kind in _KINDS for path in folder.glob(f"{kind}*")):
        with suppress(OSError):  # a link, a file, another's, or gone meanwhile
            guard = os.open(path, _FOLDER)
            try:
                if os.fstat(guard).st_uid == os.geteuid():
                    fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(path)
            finally:
                os.close(guard)


def remove(path: Path) -> None:
    """Remove a tree. Leftovers of a rootless bake belong to subordinate ids, and only their namespace may remove
    them."""
    try:
        shutil.rmtree(path)
    except PermissionError:
        remove_tree(path)


def _guarded(kind: str, folder: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=kind, dir=folder))
        with suppress(FileNotFoundError):  # a sweep was between its making and its lock
            guard = os.open(path, _FOLDER)
            fcntl.flock(guard, fcntl.LOCK_EX)
            if path.exists():
                return path, guard
            os.close(guard)
