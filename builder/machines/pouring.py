"""Fill a sparse file through a pipe, with limits of size and time, because the writer is not trusted to stop."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_READ = 1 << 16
_ZEROS = bytes(_READ)


class Pouring:
    """A context manager. Bytes that somebody writes to `path` go into the new `file`. Zeros become holes.

    After `limit` bytes the pipe is closed (EPIPE for the writer). After `silence` seconds without a byte, or `total`
    seconds in all, `stop` is called as well: a writer that hangs does not notice a closed pipe. `fault` is the reason,
    or "".
    """

    def __init__(self, file: Path, *, limit: int, silence: float, total: float, stop: Callable[[], None]) -> None:
        self._file, self._limit, self._silence, self._total, self._stop = file, limit, silence, total, stop
        self.fault = ""

    @property
    def path(self) -> str:
        return f"/dev/fd/{self._entry}"

    def __enter__(self) -> Self:
        self._outlet, self._entry = os.pipe()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._entry)
        self._thread.join()

    def _follow(self) -> None:
        try:
            with self._file.open("xb") as file:
                self.fault = self._copied(file.fileno())
        except OSError as error:
            self.fault = str(error)
        finally:
            os.close(self._outlet)

    def _copied(self, target: int) -> str:
        end, length = time.monotonic() + self._total, 0
        while True:
            left = min(self._silence, end - time.monotonic())
            if left <= 0 or not select.select([self._outlet], [], [], left)[0]:
                with suppress(ProcessLookupError):
                    self._stop()
                return f"gives nothing more after {length} bytes"
            chunk = os.read(self._outlet, _READ)
            if not chunk:
                os.ftruncate(target, length)
                return ""
            if length + len(chunk) > self._limit:
                return f"holds more than {self._limit} bytes, and its volume cannot"
            if chunk != _ZEROS[: len(chunk)]:
                _write(target, chunk, length)
            length += len(chunk)


def _write(target: int, chunk: bytes, offset: int) -> None:
    while chunk:
        count = os.pwrite(target, chunk, offset)
        chunk, offset = chunk[count:], offset + count
