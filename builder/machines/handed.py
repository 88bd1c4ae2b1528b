"""Files that a QEMU process gets as open descriptors: it has the right to open none by its name.

Sources: qemu(1), `-add-fd`; proc_pid_fd(5), which lets a process open its own descriptors again.
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
    """Context manager: the descriptors are open in it. `numbers` are to be inherited, `words` are for the command line.

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
        """A path for a plain file that QEMU reads (kernel, initrd). The file must be readable by everybody."""
        return f"/dev/fd/{self._opened(path, os.O_RDONLY)}"

    def disk(self, path: Path, *, writable: bool = False) -> str:
        """The words `file.driver=...,file.filename=...` of a block device, for its protocol layer. QEMU
        reads a disk before it writes to it, and wants a descriptor for each."""
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
