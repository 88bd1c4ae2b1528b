"""Progress: bars for people, plain lines for logs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import termios
from pathlib import Path

import pytest

from builder.cli.terminal import Terminal


def everything(terminal: int) -> str:
    """All bytes that were written to the other end, which is closed."""
    drawn = b""
    with contextlib.suppress(OSError):  # EIO at the end, see pty(7)
        while more := os.read(terminal, 1 << 16):
            drawn += more
    os.close(terminal)
    return drawn.decode()


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_bars_only_on_a_terminal(no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        shown = Terminal(stream)
        shown.step("fetch", "2 files")
        with shown.bar("fetch", total=100) as advance:
            advance(100)
        shown.error("is wrong")
        shown.close()
    drawn = everything(ours)
    assert "fetch     2 files" in drawn
    assert "fetch:   0%|" in drawn
    assert ("\x1b[31m" in drawn) == coloured


def test_plain_lines_elsewhere(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        shown = Terminal(stream)
        shown.step("fetch", "2 files")
        with shown.bar("fetch", total=100) as advance:
            advance(100)
        shown.close()
    assert (tmp_path / "log").read_text() == "fetch     2 files\n"
