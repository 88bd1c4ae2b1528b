"""Facts as probe.sh and guest.sh tell them: `@@ NAME`, then the lines of that fact."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from shlex import quote

from builder.errors import BuildError

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_c])|\r")
"""Colours, cursor movements, titles, and the carriage returns of a serial line (ECMA-48, 5.4)."""

Facts = Mapping[str, str]
"""Text by name, without newlines at its end; several lines where the fact has several."""


def script(name: str, **variables: str) -> bytes:
    """A script of this folder, told its variables by assignments in front of it."""
    told = "".join(f"{key}={quote(value)}\n" for key, value in variables.items())
    return (told + resources.files(__package__).joinpath(name).read_text()).encode()


def parse(text: str) -> Facts:
    """Raises BuildError when the script did not come to its end."""
    facts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@@ "):
            lines = facts.setdefault(line.removeprefix("@@ "), [])
        else:
            lines.append(line)
    if "end" not in facts:
        raise BuildError(f"the probe of the booted system broke off after {next(reversed(facts), 'nothing')!r}")
    return {name: readable("\n".join(found)).rstrip("\n") for name, found in facts.items()}


def readable(serial: str) -> str:
    """What a serial line said, without what only a terminal understands."""
    return _TERMINAL.sub("", serial)


def tail(text: str, lines: int = 25) -> str:
    return "".join(f"\n  | {line}" for line in text.strip().splitlines()[-lines:])


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
