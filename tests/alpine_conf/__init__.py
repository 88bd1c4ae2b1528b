"""setup-alpine without a system: what reaches its helpers, release by release, in the shells that read answer files.

`setup-alpine` here hands answers on as alpine-conf's does, and `helper` stands for each program that it calls. Nothing
is changed: an answer that is missing or not understood is a question that nobody would answer (`helpers`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.alpine_conf.helpers import HELPERS, Outcome, judge

FILES = Path(__file__).parent
SHELLS = {"dash": ("dash",), "ash": ("busybox", "sh")}
VERSIONS = {
    "3.15.0": (3, 13),
    "3.16.0": (3, 14),
    "3.17.0": (3, 15),
    "3.19.0": (3, 17),
    "3.21.0": (3, 19),
    "3.22.0": (3, 20),
    "3.23.0": (3, 21),
    "3.24.2": (3, 22),
}
"""alpine-conf's version by Alpine's."""
ENDLESS = 99
"""The status of our setup-alpine where the real one would ask for root's password for ever."""
AS_DOCUMENTED = "set -a; . ./answers; set +a; setup-alpine -e -f ./answers"


@dataclass(frozen=True)
class Call:
    """`variables` are those that this helper reads, as it sees them."""

    helper: str
    words: tuple[str, ...]
    variables: dict[str, str]
    outcome: Outcome

    def describe(self) -> Iterator[str]:
        yield " ".join([self.helper, *(f"<{word}>" for word in self.words)])
        yield from (f"  with {name}={value}" for name, value in self.variables.items())
        yield from (f"  {told}" for told in (self.outcome.asks, self.outcome.harm) if told)


@dataclass(frozen=True)
class Installation:
    """`interfaces` is what setup-interfaces was given to write."""

    status: int
    calls: tuple[Call, ...]
    interfaces: str

    def call(self, helper: str) -> Call:
        """The last one."""
        return next(call for call in reversed(self.calls) if call.helper == helper)

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        return {call.helper: call.words for call in self.calls}

    @property
    def questions(self) -> dict[str, str]:
        return {call.helper: call.outcome.asks for call in self.calls if call.outcome.asks}

    @property
    def harm(self) -> dict[str, str]:
        return {call.helper: call.outcome.harm for call in self.calls if call.outcome.harm}


def install(release: str, answers: bytes, folder: Path, *, shell: str, command: str = AS_DOCUMENTED) -> Installation:
    """Types `command` in the live system of that release, with the answers in ./answers of `folder`, which is empty."""
    (folder / "answers").write_bytes(answers)
    programs, calls, interfaces = folder / "bin", folder / "calls", folder / "interfaces"
    programs.mkdir()
    for helper in HELPERS:
        (programs / helper).symlink_to(FILES / "helper")
    (programs / "setup-alpine").write_text(f'#!/bin/sh\nexec {" ".join(SHELLS[shell])} {FILES}/setup-alpine "$@"\n')
    (programs / "setup-alpine").chmod(0o755)
    calls.touch()
    interfaces.touch()
    major, minor = VERSIONS[release]
    environment = {
        "PATH": f"{programs}:{os.defpath}",
        "ALPINE_CONF": f"{major}{minor:02}",
        "CALLS": str(calls),
        "INTERFACES": str(interfaces),
    }
    ended = subprocess.run(
        [*SHELLS[shell], "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    noted = tuple(_calls(calls.read_text(), VERSIONS[release]))
    return Installation(ended.returncode, noted, interfaces.read_text())


def variables(answers: bytes, folder: Path, shell: str) -> dict[str, str]:
    """Variables that the file, once it is sourced, adds to the environment of programs."""
    (folder / "answers").write_bytes(answers)

    def environment(script: str) -> dict[str, str]:
        command = [*SHELLS[shell], "-c", f"{script} exec env -0"]
        shown = subprocess.run(command, cwd=folder, env={"PATH": os.defpath}, capture_output=True, check=True).stdout
        return dict(entry.split("=", 1) for entry in shown.decode().split("\0") if entry)

    before = environment("")
    return {name: value for name, value in environment(". ./answers;").items() if before.get(name) != value}


def _calls(noted: str, conf: tuple[int, int]) -> Iterator[Call]:
    """Each is the helper's name, the number of its words, the words, its environment, and nothing."""
    fields = iter(noted.split("\0"))
    while name := next(fields):
        words = tuple(next(fields) for _ in range(int(next(fields))))
        environment = dict(entry.split("=", 1) for entry in iter(lambda: next(fields), ""))
        seen = {variable: environment[variable] for variable in HELPERS[name].reads if variable in environment}
        yield Call(name, words, seen, judge(name, words, environment, conf))
