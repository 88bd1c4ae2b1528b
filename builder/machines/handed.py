"""Files that a QEMU process gets as open descriptors, because it has no right to open a file by its name.

Sources: qemu(1), `-add-fd`; proc_pid_fd(5): a process may open its own descriptors again.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.errors import BuildError

_FLAGS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Handed:
    """A context manager that holds the descriptors open. QEMU must inherit `numbers`; `words` belong to its command
    line.

    Raises BuildError for a path that is neither a regular file nor a disk.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.numbers: list[int] = []
        self.words: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def program(self, path: Path) -> str:
        """A path by which QEMU opens a plain file, such as a kernel. The file must be readable by everybody."""
        return f"/dev/fd/{self._opened(path, os.O_RDONLY)}"

    def disk(self, path: Path, *, writable: bool = False) -> str:
        """The words `file.driver=...,file.filename=...` for a block device's protocol layer. QEMU opens a writable disk
        for reading first, and needs a descriptor for each mode."""
        numbers = [self._opened(path, flags) for flags in ((os.O_RDONLY, os.O_RDWR) if writable else (os.O_RDONLY,))]
        group = numbers[0]
        for number in numbers:
            self.words += ["-add-fd", f"fd={number},set={group}"]
        driver = "host_device" if stat.S_ISBLK(os.fstat(group).st_mode) else "file"
        return f"file.driver={driver},file.filename=/dev/fdset/{group}"

    def _opened(self, path: Path, flags: int) -> int:
        number = os.open(path, flags | _FLAGS)
        self._stack.callback(os.close, number)
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise BuildError("is neither a file nor a disk", where=str(path))
        self.numbers.append(number)
        return number
