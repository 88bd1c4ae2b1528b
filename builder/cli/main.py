"""Run the command line, and turn errors and signals into messages and exit statuses. The commands are in
builder.cli.commands."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from builder.cli.commands import pimu_build
from builder.cli.terminal import Terminal
from builder.errors import DiskFullError, PimuError
from builder.host.run import kill_all

_SIGNAL_BASE = 128  # a shell adds the signal's number for a process that a signal ended


class _Stopped(BaseException):
    """A signal has asked us to end. It is no Exception, so that no code takes it for a failure and tries again."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = _SIGNAL_BASE + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status of README's table."""
    gc.set_threshold(50_000)  # a further node takes a second, and the collector would take a tenth of it
    terminal = Terminal(sys.stderr)
    _catch_signals()
    try:
        status = pimu_build.main(argv, prog_name="pimu-build", standalone_mode=False, obj=terminal)
        sys.stdout.flush()
    except Exception as error:
        return _failed(error, terminal)
    except (KeyboardInterrupt, _Stopped) as stopped:
        kill_all()
        left = getattr(stopped, "__notes__", None) or ["nothing half made is left, and a further run goes on from here"]
        terminal.error(f"interrupted; {'; '.join(left)}")
        return stopped.exit_code if isinstance(stopped, _Stopped) else _SIGNAL_BASE + signal.SIGINT
    finally:
        terminal.close()
    return status or 0  # None, or a command's argument to Context.exit


def program() -> NoReturn:
    """The installed command. It skips the interpreter's cleanup, which takes 35 ms of the 700 ms for a further node."""
    status = main()
    with contextlib.suppress(OSError):  # the reader has gone, or the disk is full; `main` has said so
        sys.stdout.flush()
    os._exit(status)


def _failed(error: Exception, terminal: Terminal) -> int:
    """Print the error, and return the exit status for it."""
    status = 1
    match error:
        case PimuError():
            text, status = str(error), error.exit_code
        case click.ClickException():
            text, status = _usage(error), error.exit_code
        case click.Abort():  # Ctrl-D at a prompt
            text, status = "aborted", _SIGNAL_BASE + signal.SIGINT
        case BrokenPipeError():
            # The reader (`| head`) has ended. Python would print another error when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return status
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            hint = "make room, or name other folders: --output, PIMU_CACHE"
            text = str(DiskFullError("no room is left", where=error.filename or "the disk", hint=hint))
            status = DiskFullError.exit_code
        case OSError(strerror=str(reason)):
            name = f"{error.filename}: " if error.filename else ""
            text = f"{name}{reason}{_where_to_look(terminal)}"
        case _:
            said = "; ".join((str(error), *getattr(error, "__notes__", ())))
            text = f"internal error: {type(error).__name__}: {said}{_where_to_look(terminal)}"
    terminal.error(text, error)
    return status


def _catch_signals() -> None:
    """Turn signals into an exception, so that every `finally` runs. A signal that the parent process has set to be
    ignored stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    # Threads would wait for their tools to end. Another thread kills the tools, because the main thread may hold the
    # lock that kill_all needs.
    threading.Thread(target=kill_all, daemon=True).start()
    raise _Stopped(number)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f"\n  try `{context.command_path} --help`" if context is not None else ""
    return error.format_message() + hint


def _where_to_look(terminal: Terminal) -> str:
    """Write the traceback to a file, unless -v prints it, and return a line that names the file."""
    if terminal.verbose:
        return ""
    with contextlib.suppress(OSError):  # the report may be about a full disk
        name = f"pimu-build-{os.getpid()}-"
        with tempfile.NamedTemporaryFile("w", prefix=name, suffix=".traceback", delete=False) as file:
            traceback.print_exc(file=file)
        return f"\n  the traceback is in {file.name}; -v shows it here"
    return "\n  -v shows the traceback"
