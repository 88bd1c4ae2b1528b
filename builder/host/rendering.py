"""Templates of a project, rendered in a process of their own, whose time, memory and files are bounded.

jinja2's sandbox bounds no loop, no power of numbers and no repetition of a text, and most of them run in C, where no
handler of Python interrupts them. The kernel does: setrlimit(2). The process is forked from this one, which takes some
milliseconds; a new Python would take as long as a whole plan.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import NoReturn

from builder import limits
from builder.errors import ConfigurationError
from builder.template import strict
from builder.template.strict import Plain, Render

_NOBODY = 65534


@contextlib.contextmanager
def rendering() -> Iterator[Render]:
    """`render` of builder.template.strict, bounded by the rows TEMPLATE... of builder.limits.

    One process serves all calls: the first one starts it, and it ends with the context.

    The function raises ConfigurationError as `render` does, and at the template for text that takes too much time or
    memory.
    """
    with contextlib.ExitStack() as stack:
        room: list[_Room] = []

        def render(text: str, name: str, variables: Mapping[str, Plain]) -> str:
            if len(text) > limits.TEMPLATE:
                raise ConfigurationError(f"is a template of more than {limits.TEMPLATE} characters", where=name)
            if not room:
                room.append(stack.enter_context(contextlib.closing(_Room())))
            return room[0].render(text, name, variables)

        yield render


class _Room:
    """The process, and the pipe that leads to it. Answers are JSON: they are not believed either."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, other_end = context.Pipe()
        self._process: ForkProcess = context.Process(target=_serve, args=(other_end, self._pipe), daemon=True)
        self._process.start()
        other_end.close()

    def render(self, text: str, name: str, variables: Mapping[str, Plain]) -> str:
        try:
            self._pipe.send_bytes(json.dumps([text, name, variables]).encode())
            answer = json.loads(self._pipe.recv_bytes(limits.RENDERER_ANSWER))
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise ConfigurationError(_end(self._process.exitcode), where=name) from error
        if "text" in answer:
            return str(answer["text"])
        raise ConfigurationError(answer["fault"], where=answer["where"], hint=answer["hint"])

    def close(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _end(status: int | None) -> str:
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return str(strict.TooLongError())
    return f"cannot be rendered: the process for it ended with {status}"


def _serve(requests: Connection, callers_end: Connection) -> None:
    callers_end.close()  # or the end of the caller would never be seen here
    _confine()
    while True:
        try:
            text, name, variables = json.loads(requests.recv_bytes())
        except EOFError:
            return
        requests.send_bytes(json.dumps(_answer(text, name, variables)).encode())


def _confine() -> None:
    """Should a template get out of jinja2's sandbox, it can open no file, grow none, and start no process."""
    codecs.lookup("unicode_escape")  # jinja2 asks for both late, and a module cannot be read any more then
    importlib.import_module("jinja2.debug")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, _too_long)
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # in a user namespace there may be no such id
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + limits.TEMPLATE_MEMORY
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (lowered, lowered))


def _answer(text: str, name: str, variables: Mapping[str, Plain]) -> dict[str, str]:
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + limits.TEMPLATE_SECONDS + limits.TEMPLATE_GRACE_SECONDS, hard))
    signal.setitimer(signal.ITIMER_PROF, limits.TEMPLATE_SECONDS)
    try:
        return {"text": strict.render(text, name, variables)}
    except ConfigurationError as error:
        return {"fault": error.message, "where": error.where, "hint": error.hint}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(number: int, frame: FrameType | None) -> NoReturn:
    raise strict.TooLongError
