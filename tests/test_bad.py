"""One small wrong project for each thing that can be wrong: what the command says must be what is in expect.txt, word
for word, and nothing may have been written.

A folder in tests/bad/ holds files that are laid over the shipped project, and may hold
    command.txt   the command, when it is not `pimu-build node-003 --role worker`
    remove.txt    paths that are taken away
    status.txt    the exit status, when it is not 3
    published     the file of a published image, which is then the base `published`; or what it is made of:
    disk.sfdisk   the table of a disk of 24 MiB, in the words of sfdisk(8)
    disk.head     bytes that are laid over its beginning
    disk.size     bytes that it is cut off after
PROJECT in expect.txt stands for the project's folder.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import SHIPPED
from tests.tiny_image import BOOT_SIZE, BOOT_START, MIB, ROOT_START, partition

BAD = Path(__file__).parent / "bad"
CASES = sorted(folder for folder in BAD.iterdir() if folder.is_dir())
ABOUT = ("command.txt", "expect.txt", "remove.txt", "status.txt", "published", "disk.*")


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
    if any(case.glob("published")) or any(case.glob("disk.*")):
        _publish(case, bare_folder)
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


def _publish(case: Path, folder: Path) -> None:
    """The case's image in the cache, as if it had been fetched, and Raspberry Pi OS pinned to it."""
    file = folder / "cache/published"
    file.parent.mkdir()
    if (case / "published").exists():
        shutil.copy(case / "published", file)
    else:
        partition(file, *_text(case / "disk.sfdisk").splitlines())
        with file.open("r+b") as disk:
            disk.write((case / "disk.head").read_bytes() if (case / "disk.head").exists() else b"")
        os.truncate(file, int(_text(case / "disk.size", str(file.stat().st_size))))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "cache/sha256").mkdir()
    file.rename(folder / "cache/sha256" / sha256)
    data = yaml.safe_load((SHIPPED / "profiles/bases/raspios-trixie.yaml").read_text())
    unknown = ("extracted_size", "extracted_sha256", "unconfirmed")
    source = {key: value for key, value in data["source"].items() if key not in unknown}
    data["source"] = {**source, "urls": ["https://example.org/pi.img"], "sha256": sha256}
    data["boot"] |= {"start": f"{BOOT_START // MIB}MiB", "size": f"{BOOT_SIZE // MIB}MiB"}
    data["root"] |= {"start": f"{ROOT_START // MIB}MiB"}
    (folder / "profiles/bases/published.yaml").write_text(yaml.safe_dump(data))


def _text(file: Path, default: str = "") -> str:
    return file.read_text() if file.exists() else default


def _snapshot(folder: Path) -> dict[str, bytes]:
    """All but kernel locks, which stay as empty files."""
    files = {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path: content for path, content in files.items() if content or not path.endswith(".lock")}
