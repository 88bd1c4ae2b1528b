"""Print results to stdout, and progress, questions and the log to stderr. Only this module prints. Bars appear on a
terminal only.

Characters that are not printable are escaped, because names and texts from outside could repaint the screen.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click
from tqdm import tqdm

from builder.model.progress import Advance
from builder.text import escaped, escaped_json, one_line

QUIET, NORMAL, VERBOSE = -1, 0, 1


def show(text: str) -> None:
    """Print a result of one or several lines."""
    click.echo(escaped(text))


def show_lines(lines: Iterable[str], *, otherwise: str = "") -> None:
    """Print a result line by line. A line end within a line is escaped. `otherwise` is printed for an empty list."""
    click.echo("\n".join(map(one_line, lines)) or one_line(otherwise))


def show_json(data: object) -> None:
    """Print a result for programs."""
    click.echo(escaped_json(json.dumps(data, indent=2, ensure_ascii=False)))


class Terminal:
    """A Progress that prints to a terminal or a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._handler = _Lines(self)
        logging.getLogger("builder").addHandler(self._handler)
        self.set_verbosity(NORMAL)
        # https://no-color.org: any value except the empty one counts
        self._colour = stream.isatty() and not os.environ.get("NO_COLOR")

    def set_verbosity(self, verbosity: int) -> None:
        self._verbosity = verbosity
        level = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.DEBUG}[verbosity]
        logging.getLogger("builder").setLevel(level)

    @property
    def verbose(self) -> bool:
        return self._verbosity == VERBOSE

    @property
    def quiet(self) -> bool:
        return self._verbosity == QUIET

    def step(self, name: str, text: str) -> None:
        if not self.quiet:
            self.line(f"{name:<10}{text}")

    @contextmanager
    def bar(self, name: str, *, total: int, unit: str = "B") -> Iterator[Advance]:
        if self.quiet or not self._stream.isatty():
            yield lambda _: None
            return
        scale = 1024 if unit == "B" else 1000
        with tqdm(
            desc=name,
            total=total,
            unit=unit,
            unit_scale=True,
            unit_divisor=scale,
            file=self._stream,
            leave=False,
            dynamic_ncols=True,
            colour="green" if self._colour else None,
        ) as bar:

            def advance(amount: int) -> None:
                with self._lock:  # tqdm counts without one
                    bar.update(amount)

            yield advance

    def line(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        self._write(escaped(text))

    def _write(self, text: str) -> None:
        with self._lock, tqdm.external_write_mode(file=self._stream):
            click.echo(text, file=self._stream)

    def ask(self, what: str) -> str:
        """Ask for a secret, without showing the typed text. Raises click.Abort when nobody can answer."""
        answer: str = click.prompt(one_line(what), hide_input=True, err=True)
        return answer

    def ask_openly(self, what: str) -> str:
        """Ask for a text, and show it while it is typed. An empty answer is allowed."""
        answer: str = click.prompt(one_line(what), default="", show_default=False, err=True)
        return answer.strip()

    def error(self, text: str, error: BaseException | None = None) -> None:
        if error is not None and self.verbose:
            self.line("".join(traceback.format_exception(error)).rstrip())
        word = click.style("error:", fg="red", bold=True) if self._colour else "error:"
        self._write(f"{word} {escaped(text)}")

    def close(self) -> None:
        logging.getLogger("builder").removeHandler(self._handler)


class _Lines(logging.Handler):
    """Prints the log records of builder.* on the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.line(f"{record.levelname.lower()}: {record.getMessage()}")
