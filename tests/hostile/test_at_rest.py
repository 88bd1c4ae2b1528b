"""A file that is unpacked for a moment holds an image's secrets: it is for its owner alone, after a kill too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.fetch.unpacking import unpack
from builder.host.run import environment, run
from builder.model.progress import Silent
from builder.store.products import Store
from tests.conftest import SHIPPED
from tests.making import step
from tests.tiny_image import make_image

OTHERS = 0o077


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    image = tmp_path / "node-003.img"
    (tmp_path / "node-003.manifest.json").write_text(make_image(image).to_json())
    run(["zstd", "-q", "--rm", image])
    return image.with_suffix(".img.zst")


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Name and mode of each file that other users can reach."""
    found = []
    for path in folder.iterdir():
        mode = path.lstat().st_mode & 0o777
        if mode & OTHERS:
            found.append(f"{path.name} {mode:04o}")
        if path.is_dir():
            found += open_to_others(path)
    return found


@pytest.mark.disk
@pytest.mark.parametrize("command", ["verify", "boot"])
def test_an_image_that_is_unpacked_is_for_its_owner_alone(command: str, packed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    env = environment({"PIMU_CACHE": str(cache)}) | {"PYTHONPATH": str(SHIPPED)}
    argv = ["bash", "-c", 'umask 0; exec "$@"', "-", sys.executable, "-m", "builder", command, str(packed)]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        seen: list[str] = []
        while not (unpacked := [path for path in cache.glob("work/*/*.img") if path.stat().st_size > 0]):
            seen += open_to_others(cache / "work") if (cache / "work").is_dir() else []
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen += open_to_others(cache / "work")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert seen == []
    assert unpacked[0].exists()
    assert open_to_others(cache / "work") == []
    with Store(cache).workspace():
        pass
    assert not unpacked[0].exists()


@pytest.mark.usefixtures("open_umask")
def test_a_workspace_and_what_is_unpacked_in_it_are_private_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(b"secret" * 1000)
    with Store(tmp_path / "cache").workspace() as work:
        unpack(file, work / "node.img", size=None, sha256=None, where="x", progress=Silent())
        assert work.stat().st_mode & 0o777 == 0o700
        assert (work / "node.img").stat().st_mode & 0o777 == 0o600


def test_what_a_recipe_makes_may_be_read_as_before(tmp_path: Path) -> None:
    made = Store(tmp_path / "cache").make(step("layers"), lambda fresh: None)
    assert made.folder.stat().st_mode & 0o777 == 0o755
