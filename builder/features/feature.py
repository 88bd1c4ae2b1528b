"""The parts of a feature, and its place in the order of features."""

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
    """`name` is in plans, and in the marks of blocks on the Pi (`# BEGIN pimu NAME`). It stays the same when the folder
    is renamed.

    `order`: if two features change one file, the edits of the lower number are applied first. `package` is the module
    name of the folder. The folder may hold a `probe.sh`, which prints the facts that `checks` judge. `settings`
    declares this feature's own keys of a role or node. `lasting` names facts that are the same at each boot after the
    first.
    """

    name: str
    order: int
    package: str
    edits: Edits = no_edits
    settings: type[Strict] = Strict
    checks: Checks = no_checks
    lasting: tuple[str, ...] = ()
