"""Same inputs, same artifacts: nodes' compressed images with all of their papers, made and published by somebody else,
somewhere else, some other day.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builder.host.run import run
from builder.store import upkeep
from tests.conftest import SHIPPED, copy_shipped
from tests.image.test_reproducible import BUILDING, PLACE, elsewhere, furnish
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

URL = "https://example.org/set"
PROVENANCE, SUMS = "set.intoto.jsonl", "SHA256SUMS"


@dataclass(frozen=True)
class Variant:
    """`forms` are the nodes' own; `cold`: neither side has anything but the downloads, else we have all, and they have
    what comes before the golden image."""

    forms: Mapping[str, str]
    cold: bool


WARM = Variant({"node-004": "zst"}, cold=False)
COLD = Variant({"node-003": "zst", "node-004": "xz"}, cold=True)


@pytest.mark.soak
@pytest.mark.parametrize("variant", [pytest.param(WARM, id="layers shared"), pytest.param(COLD, id="all cold")])
def test_another_user_elsewhere_another_day_publishes_the_same_set(
    variant: Variant, locked: Path, tmp_path: Path
) -> None:
    project, ours, theirs = tmp_path / "project", tmp_path / "ours", tmp_path / "theirs"
    copy_shipped(project)
    shutil.copy(locked, project)
    for node in variant.forms:
        (project / f"profiles/nodes/{node}.yaml").write_text("role: worker\nk3s: null\n")
    furnish(theirs, project, [] if variant.cold else made_before_the_golden_image())
    our_cache = upkeep.default_root()
    if variant.cold:
        our_cache = tmp_path / "cache"
        shutil.copytree(upkeep.default_root() / "sha256", our_cache / "sha256", copy_function=os.link)

    for words in (*builds(variant), ("publish", "{place}/set", "--url", URL)):
        here(project, ours, our_cache, *(word.format(place=ours) for word in words))
        elsewhere(theirs, *(word.format(place=PLACE) for word in words))

    require_same(ours / "set", theirs / "set", set(variant.forms.items()))


def builds(variant: Variant) -> Iterator[tuple[str, ...]]:
    for form in sorted(set(variant.forms.values())):
        nodes = [node for node, wanted in variant.forms.items() if wanted == form]
        yield (*nodes, "--base", DEBIAN, "--compress", form, *BUILDING)


def made_before_the_golden_image() -> Iterator[Path]:
    root = upkeep.default_root()
    for kind in ("imports", "layers", "accel", "guests", "alpine"):
        yield from (path.relative_to(root) for path in (root / kind).glob("*/"))


def here(project: Path, world: Path, our_cache: Path, *words: str) -> None:
    places = ["--project", str(project), "--output", str(world / "output"), "--quiet"]
    run([sys.executable, "-m", "builder", *words, *places], cwd=SHIPPED, env={"PIMU_CACHE": str(our_cache)})


def require_same(ours: Path, theirs: Path, forms: set[tuple[str, str]]) -> None:
    papers = {f"{node}.{suffix}" for node, _ in forms for suffix in ("bmap", "manifest.json", "spdx.json")}
    same = {*papers, *(f"{node}.img.{form}" for node, form in forms), "os_list.json"}
    for folder in (ours, theirs):
        assert {path.name for path in folder.iterdir()} == {*same, PROVENANCE, SUMS}
        run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=folder)
    for name in sorted(same):
        assert run(["cmp", ours / name, theirs / name], check=False).returncode == 0, name
    listed, others = ((folder / SUMS).read_text().splitlines() for folder in (ours, theirs))
    assert {line.split()[1] for line in {*listed} ^ {*others}} == {PROVENANCE}
    told, of_others = (json.loads((folder / PROVENANCE).read_text()) for folder in (ours, theirs))
    began, they_began = (of_the_run(one) for one in (told, of_others))
    assert they_began - began > timedelta(days=300)
    assert told == of_others


def of_the_run(statement: dict[str, Any]) -> datetime:
    """When it began, taken out of the statement with all else that is of one run."""
    return datetime.fromisoformat(statement["predicate"].pop("runDetails")["metadata"]["startedOn"])
