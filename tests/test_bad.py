"""One small wrong project for each thing that can be wrong: what the command says must be what is in expect.txt, word
for word, and nothing may have been written.

A folder in tests/bad/ holds files that are laid over the shipped project, and may hold
    command.txt   the command, when it is not `pimu-build node-003 --role worker`
    remove.txt    paths that are taken away
    status.txt    the exit status, when it is not 3
PROJECT in expect.txt stands for the project's folder.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SHIPPED

BAD = Path(__file__).parent / "bad"
CASES = sorted(folder for folder in BAD.iterdir() if folder.is_dir())
ABOUT = ("command.txt", "expect.txt", "remove.txt", "status.txt")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_clear_error(
    case: Path,
    bare_folder: Path,
    command_line: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    _furnish(case, bare_folder)
    before = _snapshot(bare_folder.parent)
    monkeypatch.chdir(bare_folder)
    monkeypatch.setenv("PIMU_CACHE", str(bare_folder / "cache"))
    command = _text(case / "command.txt", "pimu-build node-003 --role worker")

    status = command_line(*shlex.split(command)[1:])

    output, errors = capsys.readouterr()
    said = errors.replace(str(bare_folder), "PROJECT").removeprefix("error: ")
    if request.config.getoption("--renew-golden"):
        (case / "expect.txt").write_text(said)
    assert said == _text(case / "expect.txt")
    assert (status, output) == (int(_text(case / "status.txt", "3")), "")
    assert _snapshot(bare_folder.parent) == before


def _furnish(case: Path, folder: Path) -> None:
    """The shipped files with the case's over them. What the case leaves alone is linked: copies take the longest."""
    for name in ("overlays", "cloud-init"):
        shutil.rmtree(folder / name)
        if (case / name).exists():
            shutil.copytree(SHIPPED / name, folder / name, symlinks=True)
        else:
            (folder / name).symlink_to(SHIPPED / name)
    ignored = shutil.ignore_patterns(*ABOUT)
    shutil.copytree(case, folder, symlinks=True, dirs_exist_ok=True, ignore=ignored)
    for name in _text(case / "remove.txt").split():
        (folder / name).unlink()


def _text(file: Path, default: str = "") -> str:
    return file.read_text() if file.exists() else default


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
