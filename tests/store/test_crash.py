"""A build that ends at once, as by kill -9 or a power cut, at each of its steps and on both sides of each rename that
makes something complete: the next build succeeds and makes the same image.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.build import Built
from builder.host.run import environment
from builder.store import upkeep
from tests.conftest import SHIPPED
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

CRASHED = 9
PROGRAM = f"""
import os, pathlib, sys
from builder.build import BuildOptions, build
from builder.model.progress import Silent
from builder.project import Project

cache, output, where, which, when = sys.argv[1:]
seen = 0

class Steps(Silent):
    def step(self, name, text):
        if where == name:
            os._exit({CRASHED})

def crashing(rename):
    def instead(self, target):
        global seen
        seen += where == "rename" and ("work" in self.parts or ".tmp" in str(self))
        if seen == int(which) and when == "before":
            os._exit({CRASHED})
        made = rename(self, target)
        if seen == int(which) and when == "after":
            os._exit({CRASHED})
        return made
    return instead

pathlib.Path.rename = crashing(pathlib.Path.rename)
options = BuildOptions(output=pathlib.Path(output), cache=pathlib.Path(cache), role="worker", base={DEBIAN!r}, jobs=1,
    offline=True)
build(Project(pathlib.Path({str(SHIPPED)!r})), ["node-003"], options, Steps())
"""


@pytest.fixture(scope="module")
def workshop(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with everything, sharing the bytes of the user's."""
    folder = tmp_path_factory.mktemp("workshop")
    furnish(folder, "sha256", "layers", "accel", "guests", "golden")
    return folder


def furnish(workshop: Path, *kinds: str) -> None:
    for kind in kinds:
        ours = workshop / "cache" / kind
        shutil.copytree(upkeep.default_root() / kind, ours, symlinks=True, copy_function=os.link)


def build(workshop: Path, where: str, which: int = 1, when: str = "before") -> subprocess.Popen[bytes]:
    words = [str(workshop / "cache"), str(workshop / "output"), where, str(which), when]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=SHIPPED, env=environment(), stderr=subprocess.PIPE
    )


def ends(process: subprocess.Popen[bytes], status: int) -> None:
    _, errors = process.communicate()
    assert process.returncode == status, errors.decode()


def is_whole_again(workshop: Path, built: Built) -> None:
    """A further build is right, and nothing is left of the one before it."""
    ends(build(workshop, "never"), 0)
    manifest = json.loads((workshop / "output/node-003.manifest.json").read_text())
    assert manifest["image"] == json.loads(built.manifest.read_text())["image"]
    assert [path.name for path in (workshop / "output").glob(".pimu-*")] == []
    assert [path.name for path in (workshop / "cache/work").glob("*")] == []


def forget(workshop: Path, *kinds: str) -> None:
    for kind in kinds:
        shutil.rmtree(workshop / "cache" / kind, ignore_errors=True)
    shutil.rmtree(workshop / "output", ignore_errors=True)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("which", [1, 2], ids=["image", "manifest"])
def test_a_crash_while_an_image_is_published(workshop: Path, built: Built, which: int, when: str) -> None:
    shutil.rmtree(workshop / "output", ignore_errors=True)
    ends(build(workshop, "rename", which, when), CRASHED)
    is_whole_again(workshop, built)


def test_a_crash_before_a_stamp_keeps_the_image_that_was_there(workshop: Path, built: Built) -> None:
    is_whole_again(workshop, built)
    image = workshop / "output/node-003.img"
    before = image.stat()
    ends(build(workshop, "stamp"), CRASHED)
    assert image.stat().st_ino == before.st_ino
    is_whole_again(workshop, built)


@pytest.mark.parametrize(("where", "when"), [("golden", "before"), ("rename", "before"), ("rename", "after")], ids=str)
def test_a_crash_while_a_golden_image_is_made(workshop: Path, built: Built, where: str, when: str) -> None:
    forget(workshop, "golden")
    ends(build(workshop, where, 1, when), CRASHED)
    is_whole_again(workshop, built)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("where", "which", "when"),
    [
        ("bake", 1, "before"),
        ("guest", 1, "before"),
        *(("rename", which, when) for which in (1, 2, 3) for when in ("before", "after")),
    ],
)
def test_a_crash_while_layers_are_made(workshop: Path, built: Built, where: str, which: int, when: str) -> None:
    """The guest's layer, its disk, the golden image."""
    forget(workshop, "golden", "guests")
    for layer in _guests_layers(workshop):
        shutil.rmtree(layer)
    ends(build(workshop, where, which, when), CRASHED)
    is_whole_again(workshop, built)


def _guests_layers(workshop: Path) -> Iterator[Path]:
    for inputs in (workshop / "cache/layers").glob("*/step.json"):
        if json.loads(inputs.read_text())["inputs"].get("architecture") == "amd64":
            yield inputs.parent


@pytest.mark.soak
def test_two_hundred_kills_at_random_moments(workshop: Path, built: Built) -> None:
    """Builds make golden image and stamp, or the stamp alone; they are killed within the time that they take on this
    machine."""
    chance = random.Random(20261124)
    longest = {True: seconds(workshop, "golden"), False: seconds(workshop)}
    for number in range(200):
        is_cold = number % 10 == 0
        if is_cold:
            forget(workshop, "golden")
        elif number % 10 == 1:
            forget(workshop, "golden")
            furnish(workshop, "golden")
        shutil.rmtree(workshop / "output", ignore_errors=True)
        process = build(workshop, "never")
        time.sleep(chance.uniform(0.1, longest[is_cold]))
        process.kill()
        process.wait()
    is_whole_again(workshop, built)


def seconds(workshop: Path, *forgotten: str) -> float:
    forget(workshop, *forgotten)
    begun = time.monotonic()
    ends(build(workshop, "never"), 0)
    return time.monotonic() - begun
