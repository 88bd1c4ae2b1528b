"""The door to files whose names or contents come from outside: a project, an image, an archive, a manifest.

Nothing here follows a symlink, waits for a fifo's writer, opens a device, or reads without a limit. open(2), openat(2):
O_NOFOLLOW fails with ELOOP on a symlink, O_NONBLOCK lets the open of a fifo return at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

from builder.errors import ConfigurationError

FILE_MODE, PRIVATE_MODE = 0o644, 0o600
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 16  # bytes

Check: TypeAlias = Callable[[os.stat_result], None]
"""Looks at the status of the open file, and raises ConfigurationError where it is not as it must be."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a folder: its name, its type and mode as stat(2) has them, and the target of a symlink."""

    name: str
    mode: int
    target: str | None = None

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


def read_inside(root: Path, name: str, limit: int, *, check: Check | None = None) -> bytes:
    """The content of the regular file `name`, a relative path, below `root`. No part of `name` may be a symlink; `root`
    may be one.

    Raises ConfigurationError, at `name`, for anything but a regular file of at most `limit` bytes, and what `check`
    raises.
    """
    parts = _parts(name)
    with _folder(root, parts[:-1], name) as folder:
        return _whole(_opened_file(parts[-1], folder, name), name, limit, check)


def read_at_most(file: IO[bytes], count: int) -> bytes:
    """The next `count` bytes of a file or pipe, fewer where it ends.

    By pieces: read(count) takes memory for all of it before the first byte is there.
    """
    pieces = []
    while count and (piece := file.read(min(count, _PIECE))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def read_regular(path: Path, limit: int, *, where: str = "", check: Check | None = None) -> bytes:
    """The content of the regular file `path`; the folders on the way are the caller's own and may be symlinks.

    Raises ConfigurationError, at `where` or the path, for anything but a regular file of at most `limit` bytes, and
    what `check` raises.
    """
    name = where or str(path)
    return _whole(_opened_file(path, None, name), name, limit, check)


def read_named(root: Path, name: str, limit: int, *, check: Check | None = None) -> bytes:
    """The content of the file in a reference `file:NAME` of a project: below `root`, absolute, or below a home (`~`).

    Raises ConfigurationError as `read_inside` does, at the path.
    """
    path = _absolute(root, name)
    if leaves(root, name) or path == _absolute(root, "."):
        return read_regular(path, limit, check=check)
    return read_inside(root, path.relative_to(_absolute(root, ".")).as_posix(), limit, check=check)


def leaves(root: Path, name: str) -> bool:
    """Whether a reference `file:NAME` names a file that is not below `root`."""
    return not _absolute(root, name).is_relative_to(_absolute(root, "."))


def entries_inside(root: Path, name: str) -> tuple[Found, ...]:
    """The entries of the folder `name` below `root`, in order of names; none for a folder that is not there.

    Raises ConfigurationError, at `name`, where it is no folder, and where a part of it is a symlink.
    """
    parts = _parts(name)
    with _folder(root, parts[:-1], name) as above:
        try:
            os.stat(parts[-1], dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return ()
        with _closing(_opened(parts[-1], _FOLDER, above, name)) as folder:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - by descriptor
            return tuple(_found(entry, folder) for entry in names)


def write_new(folder: Path, name: str, content: bytes, *, mode: int = FILE_MODE) -> Path:
    """Make a file that is not there yet. `name` is one name of ours, never one from outside.

    Raises FileExistsError when anything has that name, a dangling symlink included.
    """
    path = folder / _one_name(name)
    with os.fdopen(os.open(path, _CREATE, mode), "wb") as file:
        file.write(content)
    return path


def open_fresh(path: Path) -> FileIO:
    """Open a new file of the builder's own for reading and writing, unbuffered, in the place of anything that has this
    name.

    A folder that came with an unpacked set may hold a symlink of that name: it is removed, not followed.
    """
    path.unlink(missing_ok=True)
    return FileIO(os.open(path, _CREATE & ~os.O_WRONLY | os.O_RDWR, PRIVATE_MODE), "r+")


def replace(path: Path, content: bytes, *, mode: int = FILE_MODE) -> None:
    """Put a whole file in the place of anything that has this name; a symlink there is replaced, not followed.

    The content is written under a random name beside it first, so that a kill leaves the old file.
    """
    with beside(path, mode=mode) as (fresh, descriptor):
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(path)


@contextmanager
def beside(path: Path, *, mode: int = FILE_MODE) -> Iterator[tuple[Path, int]]:
    """A new empty file with a random name in the folder of `path`, and its descriptor, which the caller closes. The
    file is gone afterwards, unless it was renamed."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(fresh, _CREATE, mode)
    try:
        yield fresh, descriptor
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()


def _absolute(root: Path, name: str) -> Path:
    """Without `.` and `..`, which are taken away by the letter: no file is looked at."""
    try:
        return Path(os.path.normpath(Path.cwd() / root / Path(name).expanduser()))
    except RuntimeError as error:  # pathlib: no home of that name
        raise ConfigurationError("names the home of nobody here", where=name) from error


def _found(entry: str, folder: int) -> Found:
    mode = os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode
    return Found(entry, mode, os.readlink(entry, dir_fd=folder) if stat.S_ISLNK(mode) else None)


@contextmanager
def _folder(root: Path, parts: tuple[str, ...], where: str) -> Iterator[int]:
    """A descriptor of the folder below `root`."""
    with ExitStack() as stack:
        folder = stack.enter_context(_closing(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
        for part in parts:
            folder = stack.enter_context(_closing(_opened(part, _FOLDER, folder, where)))
        yield folder


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ConfigurationError("is a path out of its folder", where=name)
    return path.parts


def _one_name(name: str) -> str:
    if len(PurePosixPath(name).parts) != 1 or name in (".", "..") or "/" in name:
        raise ValueError(f"{name!r} is not one name")
    return name


def _opened_file(part: str | Path, folder: int | None, where: str) -> int:
    """Looked at before it is opened, for the opening of some devices already does something (watchdog, tape)."""
    with suppress(OSError):
        mode = os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise ConfigurationError("is not a regular file", where=where)
    return _opened(part, _READ, folder, where)


def _opened(part: str | Path, flags: int, folder: int | None, where: str) -> int:
    try:
        return os.open(part, flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and _is_symlink(part, folder)):
            hint = "put there what it leads to" if folder is not None else f"name {os.path.realpath(part)} itself"
            raise ConfigurationError("is a symlink, and is not followed", where=where, hint=hint) from error
        raise ConfigurationError(f"cannot be read: {error.strerror}", where=where) from error


def _is_symlink(part: str | Path, folder: int | None) -> bool:
    with suppress(OSError):
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _whole(descriptor: int, where: str, limit: int, check: Check | None) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError("is not a regular file", where=where)
        if check is not None:
            check(status)
        if status.st_size > limit:
            said = f"has {status.st_size} bytes, and {limit} are the most that is read"
            raise ConfigurationError(said, where=where)
        content = read_at_most(file, limit + 1)  # it may grow while it is read
    if len(content) > limit:
        raise ConfigurationError(f"grows beyond {limit} bytes while it is read", where=where)
    return content
