"""One small wrong project for each thing that can be wrong: the error must be the one in expect.txt, word for word.

A folder in tests/bad/ holds files that are laid over the shipped project, and may hold
    command.txt   the command, when it is not `pimu-build node-003 --role worker`
    remove.txt    paths that are taken away
PROJECT in expect.txt stands for the project's folder.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.plan import make_plan
from builder.project import Project
from tests.conftest import SHIPPED

BAD = Path(__file__).parent / "bad"
CASES = sorted(folder for folder in BAD.iterdir() if folder.is_dir())
COMMAND_WORDS = ("boot", "cache", "doctor", "plan", "verify")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_clear_error(case: Path, bare_folder: Path, request: pytest.FixtureRequest) -> None:
    _furnish(case, bare_folder)
    before = _snapshot(bare_folder.parent)

    with pytest.raises(ConfigurationError) as caught:
        _plan(_text(case / "command.txt", "pimu-build node-003 --role worker"), bare_folder)

    said = str(caught.value).replace(str(bare_folder), "PROJECT") + "\n"
    if request.config.getoption("--renew-golden"):
        (case / "expect.txt").write_text(said)
    assert said == _text(case / "expect.txt")
    assert caught.value.exit_code == 3
    assert _snapshot(bare_folder.parent) == before


def _furnish(case: Path, folder: Path) -> None:
    """The shipped files with the case's over them. What the case leaves alone is linked: copies take the longest."""
    for name in ("overlays", "cloud-init"):
        shutil.rmtree(folder / name)
        if (case / name).exists():
            shutil.copytree(SHIPPED / name, folder / name, symlinks=True)
        else:
            (folder / name).symlink_to(SHIPPED / name)
    ignored = shutil.ignore_patterns("command.txt", "expect.txt", "remove.txt")
    shutil.copytree(case, folder, symlinks=True, dirs_exist_ok=True, ignore=ignored)
    for name in _text(case / "remove.txt").split():
        (folder / name).unlink()


def _plan(command: str, folder: Path) -> None:
    """What the command does before anything is fetched or written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("nodes", nargs="+")
    parser.add_argument("--role")
    asked = parser.parse_args(shlex.split(command)[1:])
    project = Project(folder, COMMAND_WORDS)
    resolved = [project.settings(node, asked.role) for node in asked.nodes]
    project.identities(resolved)
    for node in resolved:
        make_plan(node, project.overlays, project.seed)


def _text(file: Path, default: str = "") -> str:
    return file.read_text() if file.exists() else default


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
