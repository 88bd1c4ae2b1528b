"""Leftovers of killed runs outside the cache go with the next run, and folders of living runs stay."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.host.scratch import BOOT, PRIVATE, private_folder, scratch_folder, sweep_folder
from builder.image.output import locked
from builder.store.upkeep import in_use
from tests.conftest import SHIPPED

ENDS = "import os, sys; from pathlib import Path; from builder.host import scratch\n"
ENDS += "with scratch.{}: print('there', flush=True); sys.stdin.read(); os._exit(9)"
IN_MEMORY = Path("/dev/shm")


@contextmanager
def running(call: str, env: dict[str, str]) -> Iterator[None]:
    """Another process inside such a folder, which ends without tidying up."""
    words = [sys.executable, "-c", ENDS.format(call)]
    environment = {**os.environ, "PYTHONPATH": str(SHIPPED), **env}
    process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    yield
    process.communicate()
    assert process.returncode == 9


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, for this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def prune(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(SHIPPED), "PIMU_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-m", "builder", "cache", "prune"], env=env, check=True, stdout=subprocess.DEVNULL)


def build(tmp_path: Path) -> None:
    with in_use(tmp_path / "cache"):
        pass


@pytest.mark.parametrize("later", [prune, build])
@pytest.mark.parametrize("kind", ["BOOT", "VERIFY"])
def test_a_dead_runs_folder_goes_and_a_living_ones_stays(
    later: Callable[[Path], None], kind: str, temporary: Path, tmp_path: Path
) -> None:
    with running(f"scratch_folder(scratch.{kind})", {"TMPDIR": str(temporary)}):
        (made,) = temporary.iterdir()
        (made / "disk").write_text("a secret")
        later(tmp_path)
        assert (made / "disk").exists()
    assert made.exists()
    later(tmp_path)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("later", [prune, build])
def test_secrets_in_memory_go_too(later: Callable[[Path], None], tmp_path: Path) -> None:
    before = set(IN_MEMORY.glob(f"{PRIVATE}*"))
    with running("private_folder()", {}):
        (made,) = set(IN_MEMORY.glob(f"{PRIVATE}*")) - before
        (made / "seed.img").write_text("a secret")
        later(tmp_path)
        assert (made / "seed.img").exists()
    later(tmp_path)
    assert not made.exists()


def test_a_boot_clears_the_folder_in_which_it_works_and_a_build_its_output(tmp_path: Path) -> None:
    for again in (lambda: scratch_folder(BOOT, tmp_path), lambda: locked(tmp_path, ["node-003"])):
        with running(f"scratch_folder(scratch.BOOT, Path({str(tmp_path)!r}))", {}):
            (left,) = tmp_path.glob(f"{BOOT}*")
        assert left.exists()
        with again():
            assert not left.exists()


def test_only_folders_of_ours_that_nobody_holds_are_swept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    for name in ("link", "held", "free"):
        if name == "link":
            (tmp_path / f"{BOOT}link").symlink_to(precious)
        else:
            (tmp_path / f"{BOOT}{name}").mkdir()
    (tmp_path / f"{BOOT}file").touch()
    (tmp_path / "pimu-other").mkdir()
    held = os.open(tmp_path / f"{BOOT}held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    sweep_folder(tmp_path)
    os.close(held)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{BOOT}file",
        f"{BOOT}held",
        f"{BOOT}link",
        "pimu-other",
        "precious",
    ]
    assert (precious / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a folder of another user: needs root")
def test_another_users_folder_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f"{BOOT}other"
    other.mkdir()
    os.chown(other, 4242, 4242)
    sweep_folder(tmp_path)
    assert other.exists()


def test_such_a_folder_is_for_its_owner_alone_and_gone_afterwards(temporary: Path) -> None:
    for made in (scratch_folder(BOOT), private_folder()):
        with made as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "file").touch()
        assert not folder.exists()
    assert list(temporary.iterdir()) == []
