"""The examples for CI are valid by their services' own schemas; their steps, run here in a fresh clone, build twice,
compare and publish."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.host.run import run
from builder.model.lock import from_text
from builder.store import upkeep
from tests.conftest import SHIPPED

CI = SHIPPED / "docs/ci"
BIN = Path(sys.executable).parent
PREPARED = ("apt-get ", "make setup")


def document(name: str) -> Any:
    return yaml.safe_load((CI / name).read_text())


def github_steps() -> list[str]:
    return [step["run"].strip() for step in document("github.yml")["jobs"]["images"]["steps"] if "run" in step]


def gitlab_steps() -> list[str]:
    job = document("gitlab.yml")["images"]
    return [step.strip() for step in (*job["before_script"], *job["script"])]


@pytest.mark.parametrize(("name", "schema"), [("github.yml", "github-workflows"), ("gitlab.yml", "gitlab-ci")])
def test_each_is_valid_by_its_services_schema(name: str, schema: str, tmp_path: Path) -> None:
    transform = ("--data-transform", "gitlab-ci") if schema == "gitlab-ci" else ()
    program = (BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *transform)
    run([*program, CI / name])
    wrong = tmp_path / name
    wrong.write_text((CI / name).read_text().replace("script:" if schema == "gitlab-ci" else "runs-on:", "x-on:"))
    assert run([*program, wrong], check=False).returncode == 1


def test_actions_are_pinned_and_may_read_only() -> None:
    workflow = document("github.yml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert "permissions" not in job
    for action in (step["uses"] for step in job["steps"] if "uses" in step):
        assert len(bytes.fromhex(action.partition("@")[2])) == 20, action


def test_both_services_are_told_the_same() -> None:
    assert github_steps() == gitlab_steps()
    assert document("github.yml")["jobs"]["images"]["env"] == document("gitlab.yml")["images"]["variables"]


def test_the_containerfile_is_one_that_its_linter_takes(tmp_path: Path) -> None:
    run([BIN / "hadolint", CI / "Containerfile"])
    wrong = tmp_path / "Containerfile"
    wrong.write_text((CI / "Containerfile").read_text().replace("USER 1000", "USER root"))
    assert run([BIN / "hadolint", wrong], check=False).returncode == 1


@dataclass(frozen=True)
class Runner:
    """`clone` is the project as git has it; FIRST and SECOND of the examples are beside it."""

    clone: Path

    def step(self, text: str, *, check: bool = True) -> int:
        """One step as GitHub runs it in a container."""
        settings = document("github.yml")["jobs"]["images"]["env"]
        home = {"HOME": os.environ.get("HOME", "/root")}
        return run(["sh", "-ec", text], cwd=self.clone, env={**home, **settings}, check=check).returncode

    def path(self, name: str) -> Path:
        return self.clone.parent / name


@pytest.fixture(scope="module")
def runner(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """After its set-up. The first build finds a warm cache; the second all but downloads and golden images, and what of
    such an image was compressed before, which takes the longest. Gigabytes, which go when they have been looked at."""
    made = Runner(tmp_path_factory.mktemp("ci") / "clone")
    run(["git", "clone", "--quiet", SHIPPED, made.clone])
    edits = run(["git", "-C", SHIPPED, "diff", "--binary", "HEAD"]).stdout
    run(["git", "-C", made.clone, "apply", "--allow-empty"], input=edits)
    shutil.copy(locked, made.clone)
    git = ("git", "-C", made.clone, "-c", "user.name=ci", "-c", "user.email=ci@example.org")
    run([*git, "add", "--force", "--all", "pimu.lock", "."])
    run([*git, "commit", "--quiet", "--message", "As it is now"])
    root, of_first = upkeep.default_root(), made.path("first/cache")
    for kind in ("imports", "layers", "accel", "guests", "golden", "frames"):
        if (root / kind).exists():
            _link(root / kind, of_first / kind)
            if kind != "golden":
                _link(root / kind, made.path("second/cache") / kind)
    lock = from_text(locked.read_text(), "pimu.lock")
    (of_first / "sha256").mkdir(parents=True, exist_ok=True)
    for deb in {deb for resolution in lock.resolutions.values() for deb in resolution.debs}:
        if (file := root / "sha256" / deb.sha256).exists():
            os.link(file, of_first / "sha256" / deb.sha256)
    made.step("make setup")
    yield made
    shutil.rmtree(made.clone.parent)


def _link(source: Path, target: Path) -> None:
    left_over = shutil.ignore_patterns("*.lock", "*.part", "*.resume")
    shutil.copytree(source, target, symlinks=True, copy_function=os.link, ignore=left_over)


@pytest.mark.soak
@pytest.mark.disk
def test_the_steps_build_twice_compare_and_publish(runner: Runner) -> None:
    build, again, compare, publish = (step for step in github_steps() if not step.startswith(PREPARED))
    runner.step(build)
    assert not runner.path("second/cache/golden").exists()
    runner.step(again)
    (golden,) = runner.path("second/cache/golden").glob("*/step.json")
    assert golden.stat().st_nlink == 1
    runner.step(compare)
    runner.step(publish)

    published = runner.clone / "output/published"
    run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=published)
    told = json.loads((published / "set.intoto.jsonl").read_text())
    project = told["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert (project["name"], project["annotations"]) == ("project", {"changed": False})

    (manifest,) = runner.path("second/output").glob("*.manifest.json")
    text = manifest.read_text()
    manifest.write_text(
        text.replace('"role":"worker"', '"role":"server"').replace('"role": "worker"', '"role": "server"')
    )
    assert runner.step(compare, check=False) != 0
    manifest.write_text(text)
    (image,) = runner.path("second/output").glob("*.img.zst")
    with image.open("ab") as file:
        file.write(b"\0")
    assert runner.step(compare, check=False) != 0
