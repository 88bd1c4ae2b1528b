"""Eight builds at once over one cache, four nodes into two folders: each source is fetched once, each layer made once,
and every image is what it is when it is built alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.build import BuildOptions, Built, build
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from tests.conftest import SHIPPED
from tests.planned import DEBIAN
from tests.workshop import Workshop, flip, mirror

pytestmark = pytest.mark.disk

NODES = tuple(f"node-{number:03}" for number in (3, 4, 5, 6))
FOLDERS = ("one", "other")
MAKES = ("bake", "guest", "golden")


@pytest.fixture
def workshop(built: Built, tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "workshop")


@pytest.fixture
def alone(built: Built, tmp_path: Path) -> dict[str, object]:
    """The images by node, of one build after the other."""
    options = BuildOptions(
        output=tmp_path / "alone", cache=upkeep.default_root(), role="worker", base=DEBIAN, jobs=1, offline=True
    )
    made = build(Project(SHIPPED), NODES, options, Silent())
    images = {one.plan.settings.name: json.loads(one.manifest.read_text())["image"] for one in made}
    for one in made:
        one.image.unlink()
    return images


def eight(workshop: Workshop, *words: str, proxy: str = "") -> Counter[str]:
    """Number of times that the eight said of each thing that they make it; all of them have to succeed."""
    settings = {"http_proxy": proxy} if proxy else {}
    pairs = [(node, folder) for folder in FOLDERS for node in NODES]
    processes = [
        workshop.start(*workshop.build_words(node, output=folder), *words, settings=settings) for node, folder in pairs
    ]
    said = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, "\n".join(said)
    return Counter(line for text in said for line in text.splitlines() if _makes(line.split()))


def _makes(words: Sequence[str]) -> bool:
    """Not the lines with the seconds of a bake's stages."""
    return words[0] in MAKES and "s" not in words


def are_right(workshop: Workshop, alone: dict[str, object]) -> None:
    assert {(node, folder): workshop.image(node, folder) for folder in FOLDERS for node in NODES} == {
        (node, folder): alone[node] for folder in FOLDERS for node in NODES
    }
    assert list((workshop.cache / "work").iterdir()) == []


def test_the_golden_image_is_made_once(workshop: Workshop, alone: dict[str, object]) -> None:
    workshop.furnish()
    workshop.forget("golden")
    made = eight(workshop, "--offline")
    assert list(made.values()) == [1], made
    are_right(workshop, alone)


@pytest.mark.soak
def test_what_all_find_damaged_is_made_anew_once(workshop: Workshop, alone: dict[str, object]) -> None:
    workshop.furnish()
    workshop.forget("golden")
    guest = workshop.only("guests")
    flip(guest / "disk.qcow2")
    made = eight(workshop, "--offline")
    assert [line.split()[:2] for line, times in made.items() if times == 1] == [["guest", "debian:"]], made
    are_right(workshop, alone)


@pytest.mark.soak
def test_everything_is_fetched_and_made_once(workshop: Workshop, alone: dict[str, object]) -> None:
    with mirror() as site:
        made = eight(workshop, proxy=site.url)
        assert {url: times for url, times in site.asked.items() if times != 1} == {}
    assert set(made.values()) == {1}, made
    assert len([line for line in made if line.startswith("bake")]) == 3
    are_right(workshop, alone)


def test_every_source_is_fetched_once(workshop: Workshop) -> None:
    """By eight that ask for all of them at the same moment."""
    with mirror() as site:
        processes = [workshop.start("fetch", "--base", DEBIAN, settings={"http_proxy": site.url}) for _ in range(8)]
        said = [process.communicate()[1].decode() for process in processes]
        assert [process.returncode for process in processes] == [0] * 8, "\n".join(said)
        assert dict(site.asked) == dict.fromkeys(site.pages, 1)


def test_who_builds_the_same_image_into_the_same_folder_is_told_to_wait(workshop: Workshop) -> None:
    workshop.furnish()
    workshop.forget("golden")
    first = workshop.start(*workshop.build_words(), "--offline")
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith(b"golden"):
            break
    second = workshop.start(*workshop.build_words(), "--offline")
    _, errors = second.communicate()
    assert second.returncode == 6
    assert b"another build is writing node-003" in errors
    first.terminate()
    assert first.communicate(timeout=30)
