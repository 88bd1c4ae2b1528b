"""Cases that are folders: a small project of wrong or hostile files, a command, and the error that it must give.

A folder holds files that are laid over the shipped project, and may hold
    command.txt   the command, when it is not the usual one of its kind
    expect.txt    the error, word for word; PROJECT stands for the project's folder, OUTSIDE for a folder beside it
    remove.txt    paths that are taken away
    status.txt    the exit status, when it is not 3
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.store.closure import KEPT

ROOT = Path(__file__).parents[1]
ABOUT = ("command.txt", "expect.txt", "prepare.sh", "remove.txt", "status.txt", "published", "disk.*")
"""Files of a case that are about it, and not a part of its project."""


def folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir())


def furnish(case: Path, folder: Path) -> None:
    """The shipped files with the case's over them. What the case leaves alone has hard links, for copies take the
    longest; a symlinked folder would be refused.

    `prepare.sh`, if the case has one, is run later by the caller; it makes what git cannot keep.
    """
    scripted = (case / "prepare.sh").exists()
    for name in ("overlays", "cloud-init"):
        shutil.rmtree(folder / name)
        alone = not scripted and not (case / name).exists()
        copy = _linked if alone else shutil.copy2
        shutil.copytree(ROOT / name, folder / name, symlinks=True, copy_function=copy)
    ignored = shutil.ignore_patterns(*ABOUT)
    shutil.copytree(case, folder, symlinks=True, dirs_exist_ok=True, ignore=ignored)
    for name in text(case / "remove.txt").split():
        gone = folder / name
        shutil.rmtree(gone) if gone.is_dir() and not gone.is_symlink() else gone.unlink()


@dataclass(frozen=True, slots=True)
class Judge:
    """Runs the command of a case in `folder`, its project, and compares the outcome. `renew` writes expect.txt anew."""

    folder: Path
    command_line: Callable[..., int]
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    renew: bool

    @property
    def outside(self) -> Path:
        """A folder beside the project that stands for the rest of the host."""
        return self.folder.parent / "outside"

    def __call__(self, case: Path, usual: str) -> float:
        """Seconds that the command took. `usual` is the command of a case that names none."""
        before = snapshot(self.folder.parent)
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setenv("PIMU_CACHE", str(self.folder / "cache"))
        words = shlex.split(text(case / "command.txt", usual))[1:]

        begun = time.monotonic()
        status = self.command_line(*words)
        took = time.monotonic() - begun

        output, errors = self.capsys.readouterr()
        said = errors.replace(str(self.folder), "PROJECT").replace(str(self.outside), "OUTSIDE").removeprefix("error: ")
        if self.renew:
            (case / "expect.txt").write_text(said)
        assert said == text(case / "expect.txt")
        assert (status, output) == (int(text(case / "status.txt", "3")), "")
        assert snapshot(self.folder.parent) == before
        return took


def _linked(source: str, target: str) -> None:
    """A copy where the folders lie on two volumes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def text(file: Path, default: str = "") -> str:
    return file.read_text() if file.exists() else default


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each file and link, but for kernel locks, which stay as empty files, and for the file that
    remembers the builder's own code. Folders are left out: an empty one costs nobody anything. Of large and special
    files: mode and size."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 26:
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(path.readlink())
        else:
            content = str(status.st_size if stat.S_ISREG(status.st_mode) else "").encode()
        if (content or not path.name.endswith(".lock")) and path.name != KEPT:
            seen[str(path)] = (status.st_mode, content)
    return seen
