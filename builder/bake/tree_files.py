"""Write files into a tree from outside. A link in the tree cannot redirect them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import BuildError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_text(root: Path, path: str, text: str, mode: int) -> None:
    """Make or replace the file `path`, which is absolute in the tree `root`. Raises BuildError when a folder of the
    path is a link."""
    with _folder_of(root, path) as (folder, name):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        with os.fdopen(os.open(name, _FRESH, mode, dir_fd=folder), "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)


def make_link(root: Path, path: str, target: str) -> None:
    """Make or replace the symlink `path`, as `write_text` does."""
    with _folder_of(root, path) as (folder, name):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        os.symlink(target, name, dir_fd=folder)


@contextmanager
def _folder_of(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder of `path`, and the last part of the path. Missing folders are made."""
    *folders, name = path.strip("/").split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            inner = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = inner
        yield here, name
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
            raise
        hint = "the base has a link or a file where every system has a folder; take another image"
        raise BuildError("cannot be written there: it lies behind a link", where=path, hint=hint) from error
    finally:
        os.close(here)
