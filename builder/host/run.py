"""The one door to other processes.

Every command runs in a clean environment (locale C.UTF-8, TZ UTC: mtools writes local time), in a process group of its
own, and dies with us, even when we are killed: a tool that outlives its build would go on writing into its files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from weakref import WeakKeyDictionary

from builder import limits
from builder.errors import BuildError, DiskFullError, MissingToolError
from builder.host.files import read_at_most
from builder.host.free_space import NO_ROOM

PIPE = subprocess.PIPE
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "http_proxy", "https_proxy", "no_proxy")
_TAIL_LINES = 15

stopping = threading.Event()
"""Set while all that was begun is to come to an end: who waits or downloads in a thread looks at it."""

refuses_undeclared = False
"""Whether a program ends the build that is not among those of `declared`. Tests set it: a program that a step runs and
does not declare is missing in the key of its product."""

_declared: ContextVar[Collection[str] | None] = ContextVar("declared", default=None)
_LOG = logging.getLogger(__name__)
_live: set[subprocess.Popen[bytes]] = set()
_live_lock = threading.Lock()
_untold: WeakKeyDictionary[subprocess.Popen[bytes], tuple[str, float]] = WeakKeyDictionary()
"""Commands that the log does not have yet, each with the time of its start."""


@dataclass(frozen=True, slots=True)
class Result:
    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def which(program: str) -> str | None:
    """Full path of a program on the door's PATH, or None."""
    return shutil.which(program, path=PATH)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent", **kept, **(extra or {})}


@contextlib.contextmanager
def declared(programs: Collection[str] | None) -> Iterator[None]:
    """In this thread, only these programs are expected (None: any); see `refuses_undeclared`."""
    token = _declared.set(programs)
    try:
        yield
    finally:
        _declared.reset(token)


def start(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    cleans_up: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a command that the caller will wait for. It is killed when the calling thread ends (PR_SET_PDEATHSIG), and
    by `kill_all` unless it `cleans_up`.

    Raises MissingToolError.
    """
    words = [os.fspath(word) for word in argv]
    expected = _declared.get()
    if refuses_undeclared and not cleans_up and expected is not None and words[0] not in expected:
        raise AssertionError(f"a step runs {words[0]}, which no TOOLS of its modules declares: {shlex.join(words)}")
    if which(words[0]) is None:
        raise MissingToolError(f"{words[0]} is not installed", hint="`pimu-build doctor` says how to install it")
    with _live_lock:  # from before its birth, or `kill_all` could miss it
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *words],
            env=environment(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        _live.difference_update([dead for dead in _live if dead.returncode is not None])
        if not cleans_up:
            _live.add(process)
    _untold[process] = shlex.join(words), time.monotonic()
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group, and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _tell(process)


def kill_all() -> None:
    """End everything that was started here; for the moment of an interrupt."""
    with _live_lock:
        processes = list(_live)
    for process in processes:
        kill(process)


def run(
    argv: Sequence[str | Path],
    *,
    input: bytes | None = None,  # noqa: A002  (subprocess.run's word)
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
    stdout: IO[bytes] | None = None,
    on_line: Callable[[str], None] | None = None,
    cleans_up: bool = False,
) -> Result:
    """Run a command to its end; `on_line` sees each line of stderr as it comes.

    Raises BuildError (with the command, ready to paste, and the end of its output) when it fails and `check` is set or
    when `timeout` seconds are over, DiskFullError when that is why, MissingToolError when the program is not there.
    """
    words = tuple(os.fspath(word) for word in argv)
    process = start(
        words,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        cleans_up=cleans_up,
    )
    try:
        if on_line is None:
            out, err = process.communicate(input, timeout=timeout)
        else:
            out, err = b"", _follow(process, on_line)
    except subprocess.TimeoutExpired as late:
        kill(process)
        raise BuildError(f"took longer than {timeout:.0f} s: {shlex.join(words)}") from late
    except BaseException:
        kill(process)
        raise
    _tell(process)
    result = Result(words, process.returncode, out or b"", err or b"")
    if check and result.returncode != 0:
        if any(os.strerror(number).encode() in result.stderr for number in NO_ROOM):
            raise DiskFullError(failure(result), hint="make room, or name other folders: --output, PIMU_CACHE")
        raise BuildError(failure(result))
    return result


def output(argv: Sequence[str | Path], *, limit: int, timeout: float) -> bytes:
    """Standard output of a command that reads something from outside: at most `limit` bytes, in `timeout` seconds.

    Raises BuildError when it fails or goes beyond either, MissingToolError.
    """
    words = tuple(os.fspath(word) for word in argv)
    with tempfile.TemporaryFile() as errors:
        process = start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        late = threading.Timer(timeout, kill, (process,))
        late.start()
        try:
            out = read_at_most(process.stdout, limit + 1)
            if len(out) > limit:
                raise BuildError(f"writes more than {limit} bytes: {shlex.join(words)}")
            process.wait()
        finally:
            late.cancel()
            kill(process)
            process.stdout.close()
        errors.seek(0)
        result = Result(words, process.returncode, b"", errors.read(limits.ERRORS))
    if result.returncode != 0:
        raise BuildError(failure(result))
    return out


def _tell(process: subprocess.Popen[bytes]) -> None:
    """Log a command that has ended, once, with its seconds. No argument is a secret, so each may be shown."""
    if told := _untold.pop(process, None):
        words, begun = told
        ending = f"  (status {process.returncode})" if process.returncode else ""
        _LOG.debug("%7.2f s  %s%s", time.monotonic() - begun, words, ending)


def _follow(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> bytes:
    assert process.stderr is not None
    lines: deque[bytes] = deque(maxlen=limits.ERROR_LINES)
    while line := process.stderr.readline(limits.LINE):
        lines.append(line)
        on_line(line.decode(errors="replace").rstrip("\n"))
    process.wait()
    return b"".join(lines)


def failure(result: Result) -> str:
    """The message about a command that failed: its status, the command to paste, and its last lines."""
    if result.returncode < 0:
        ending = f"was killed by {signal.Signals(-result.returncode).name}"
    else:
        ending = f"failed with status {result.returncode}"
    output = (result.stdout + result.stderr).decode(errors="replace").strip().splitlines()
    tail = "".join(f"\n  | {line}" for line in output[-_TAIL_LINES:])
    return f"{result.argv[0]} {ending}: {shlex.join(result.argv)}{tail}"
