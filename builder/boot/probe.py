"""The scripts that print facts of a booted Pi, and the parser of their output: `@@ NAME`, then the lines of that
fact."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from shlex import quote

from builder.errors import BuildError
from builder.features import FEATURES, guest
from builder.features.boot_check import Facts
from builder.machines.serial_line import readable


def system_probe(**variables: str) -> bytes:
    """probe.sh of this folder and the probe.sh of each feature as one script, with the variables set."""
    parts = [resources.files(__package__).joinpath("probe.sh")]
    parts += [resources.files(feature.package).joinpath("probe.sh") for feature in FEATURES]
    return _told("\n".join([*(part.read_text() for part in parts if part.is_file()), "fact end true\n"]), variables)


def guest_probe(**variables: str) -> bytes:
    """guest.sh of the feature `guest`, with the variables set."""
    return _told(resources.files(guest).joinpath("guest.sh").read_text(), variables)


def _told(script: str, variables: Mapping[str, str]) -> bytes:
    """The script after an assignment of each variable."""
    return ("".join(f"{key}={quote(value)}\n" for key, value in variables.items()) + script).encode()


def parse(text: str) -> Facts:
    """Facts by name. Raises BuildError when the script did not run to its end."""
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


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
