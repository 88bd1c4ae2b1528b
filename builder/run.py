"""The one door to other processes.

Every command runs in a clean environment (locale C.UTF-8, TZ UTC: mtools writes local time), in a process group of its
own, and dies with us, even when we are killed: a tool that outlives its build would go on writing into its files.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builder.errors import BuildError, DiskFullError, MissingToolError
from builder.room import NO_ROOM

PIPE = subprocess.PIPE
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "http_proxy", "https_proxy", "no_proxy")
_TAIL_LINES = 15

stopping = threading.Event()
"""Set while all that was begun is to come to an end: who waits or downloads in a thread looks at it."""

_live: set[subprocess.Popen[bytes]] = set()
_live_lock = threading.Lock()


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
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group, and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
    result = Result(words, process.returncode, out or b"", err or b"")
    if check and result.returncode != 0:
        if any(os.strerror(number).encode() in result.stderr for number in NO_ROOM):
            raise DiskFullError(failure(result), hint="make room, or name other folders: --output, PIMU_CACHE")
        raise BuildError(failure(result))
    return result


def _follow(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> bytes:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        on_line(line.decode(errors="replace").rstrip("\n"))
    process.wait()
    return b"".join(lines[-200:])


def failure(result: Result) -> str:
    """What to say of a command that failed: how it ended, the command to paste, the last lines that it wrote."""
    if result.returncode < 0:
        ending = f"was killed by {signal.Signals(-result.returncode).name}"
    else:
        ending = f"failed with status {result.returncode}"
    output = (result.stdout + result.stderr).decode(errors="replace").strip().splitlines()
    tail = "".join(f"\n  | {line}" for line in output[-_TAIL_LINES:])
    return f"{result.argv[0]} {ending}: {shlex.join(result.argv)}{tail}"
