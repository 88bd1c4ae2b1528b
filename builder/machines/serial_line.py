"""A machine's serial line. It is written to a log while the machine runs, up to a limit."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

from builder import limits
from builder.host.files import open_fresh

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_c])|\r")
"""Colours, cursor movements and titles (ECMA-48, 5.4), and carriage returns."""

_READ = 1 << 16


def readable(serial: str) -> str:
    """A serial line's text, without control sequences for a terminal."""
    return _TERMINAL.sub("", serial)


class SerialLine:
    """One end of a socket pair; QEMU gets the other end, `theirs`. A thread writes to `log` until that end is closed.

    After `limit` bytes (default: limits.SERIAL) nothing more is read, and `overflowed` is set. Waiting for the machine
    is useless then.
    """

    def __init__(self, log: Path, limit: int | None = None) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._limit = limits.SERIAL if limit is None else limit
        self._lock = threading.Lock()
        self._new: list[bytes] = []
        self._rest = b""
        self._whole = ""
        self.overflowed = False
        self._log = open_fresh(log)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def words(self) -> list[str]:
        """QEMU's words that make this line its first serial port (qemu(1), `-chardev socket,fd=`)."""
        return ["-chardev", f"socket,id=line,fd={self.theirs.fileno()}", "-serial", "chardev:line"]

    def text(self) -> str:
        """The text so far, without control sequences."""
        with self._lock:
            came, self._new = b"".join(self._new), []
        lines, end, rest = (self._rest + came).rpartition(b"\n")
        if len(rest) > limits.SERIAL_LINE:
            lines, end, rest = lines + end + rest, b"", b""
        self._rest = rest
        self._whole += readable((lines + end).decode(errors="replace"))
        return self._whole + readable(rest.decode(errors="replace"))

    def finish(self) -> None:
        """Read to the end, when the machine is off."""
        self.theirs.close()
        self._thread.join()

    def close(self) -> None:
        self.theirs.close()
        self._shut()
        self._thread.join()
        self._ours.close()
        self._log.close()

    def _follow(self) -> None:
        left = self._limit
        while chunk := self._received(min(_READ, left)):
            left -= len(chunk)
            self._log.write(chunk)
            with self._lock:
                self._new.append(chunk)
            if not left:
                self.overflowed = True
                self._shut()
                return

    def _received(self, size: int) -> bytes:
        try:
            return self._ours.recv(size)
        except OSError:  # QEMU was killed
            return b""

    def _shut(self) -> None:
        with suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
