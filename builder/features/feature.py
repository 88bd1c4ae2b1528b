"""One thing that is baked into an image: its name, its place among the others, and its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from builder.features.boot_check import CheckResult, Checks, Expected, Facts
from builder.features.context import Context
from builder.features.firmware import FirmwareText
from builder.model.edits import Edit
from builder.model.plan import Note
from builder.model.strict import Strict

Wish: TypeAlias = Edit | Note | FirmwareText
Edits: TypeAlias = Callable[[Context], Iterator[Wish]]


def no_edits(_context: Context) -> Iterator[Wish]:
    return iter(())


def no_checks(_facts: Facts, _want: Expected) -> Iterator[CheckResult]:
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """`name` is in plans, and in the marks of blocks on the Pi (`# BEGIN pimu NAME`). It stays when the folder is
    renamed.

    `order`: where two features change one file, the lower number goes first. `package` is the folder, as a module: its
    `probe.sh`, if there is one, tells the facts that `checks` judge. `settings` declares the keys of a role or node
    that are this feature's own. `lasting` are facts that each boot after the first must leave as they are.
    """

    name: str
    order: int
    package: str
    edits: Edits = no_edits
    settings: type[Strict] = Strict
    checks: Checks = no_checks
    lasting: tuple[str, ...] = ()
