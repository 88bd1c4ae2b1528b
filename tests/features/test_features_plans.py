"""The whole plan of each role on each base, to be read: tests/golden/plan-BASE-ROLE.txt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.model.edits import Edit, WriteFile
from builder.model.plan import Plan
from tests.planned import BASES, ROLES, plan_of

_READ_IN_OVERLAYS = ("/usr/bin/", "/usr/lib/pimu/", "/usr/lib/systemd/system/")


@pytest.mark.parametrize(("base", "role"), list(itertools.product(BASES, ROLES)))
def test_plan(base: str, role: str, shipped_folder: Path, golden: Callable[[str, str], None]) -> None:
    plan = plan_of(shipped_folder, role=role, base=base)
    golden(f"plan-{base}-{role}.txt", "".join(f"{line}\n" for line in _listing(plan)))


def _listing(plan: Plan) -> Iterator[str]:
    """Without line numbers, and without the texts of programs and units, which are read in overlays/ as they are."""
    yield f"install {' '.join(plan.packages)}"
    for edit in plan.edits:
        yield ""
        yield f"{edit.scope} {_what(edit)}"
        yield f"  {edit.feature}, {edit.origin.partition(':')[0]}"
        if isinstance(edit, WriteFile) and not edit.path.startswith(_READ_IN_OVERLAYS):
            yield from _quoted(edit.content)
    for file in plan.seed:
        yield from ("", f"seed {file.name}")
        if not file.origin.startswith("overlays/"):
            yield from _quoted(file.content)
    for note in plan.notes:
        yield from ("", f"note of {note.feature}: {note.text}")


def _what(edit: Edit) -> str:
    return edit.describe().partition(" bytes")[0].rpartition(" ")[0] if isinstance(edit, WriteFile) else edit.describe()


def _quoted(content: bytes) -> Iterator[str]:
    return (f"  | {line}".rstrip() for line in content.decode().splitlines())
