"""A disk that gets full at any step that writes: one error with the folder and what to do, exit 3, the old image as it
was, nothing half made; and with more room the next build goes on, and its image is the same.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.build import Built
from builder.errors import DiskFullError
from builder.fetch import Cache
from builder.host.run import environment
from builder.store import upkeep
from builder.store.products import Store
from tests.conftest import SHIPPED
from tests.making import step
from tests.planned import DEBIAN
from tests.small_disk import Outcome, run_on_small_disks
from tests.workshop import Workshop, mirror

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts small disks: needs root")


@pytest.fixture
def workshop(built: Built, tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path / "workshop")
    made.furnish()
    return made


def image_of(manifest: Path) -> object:
    return json.loads(manifest.read_text())["image"]


def grow(workshop: Workshop, start: int, step: int, most: int = 8000) -> list[Outcome]:
    """Build in the workshop's cache on a growing disk; what the failures before the last outcome were like."""
    room = workshop.folder / "room"
    room.mkdir()
    words = [*workshop.build_words(), "--offline"]
    *failures, last = run_on_small_disks(
        "growing_cache", room, workshop.cache, str(start), str(step), str(most), *words
    )
    assert (last.status, last.left) == (0, []), last
    for failure in failures:
        first, advice, *more = failure.error.splitlines()
        assert first == f"{room}/cache: no room is left on its disk", failure
        assert "PIMU_CACHE" in advice
        assert more == []
        assert failure.left == []
    return failures


@needs_root
@pytest.mark.disk
def test_a_cache_without_room_for_a_golden_image(workshop: Workshop, built: Built) -> None:
    """Too small for its file system."""
    workshop.forget("golden")
    (failure,) = grow(workshop, 1700, 3000)
    assert failure.step == "golden"
    assert workshop.image() == image_of(built.manifest)


@needs_root
@pytest.mark.disk
@pytest.mark.soak
def test_a_cache_without_room_for_anything_that_is_made(workshop: Workshop, built: Built) -> None:
    workshop.forget("golden", "guests", "layers", "accel")
    failures = grow(workshop, 10, 170)
    assert {failure.step for failure in failures} == {"bake", "guest", "golden"}
    assert workshop.image() == image_of(built.manifest)


@needs_root
@pytest.mark.disk
@pytest.mark.soak
def test_a_cache_without_room_in_every_part_of_a_golden_image(workshop: Workshop, built: Built) -> None:
    workshop.forget("golden")
    assert len(grow(workshop, 1, 150)) >= 10
    assert workshop.image() == image_of(built.manifest)


@needs_root
@pytest.mark.disk
def test_an_output_folder_that_gets_full_keeps_the_old_image(built: Built, tmp_path: Path) -> None:
    moments = ("copy", "changed blocks", "manifest.json")
    *failures, last = run_on_small_disks("output", tmp_path / "out", upkeep.default_root(), "3000", *moments)
    advice = "make room, or name another folder with --output"
    for failure in failures:
        assert failure.status == 3, failure
        assert failure.error == f"{tmp_path}/out: no room is left on its disk\n  {advice}\n"
        assert failure.left == ["the old image"], failure
    assert last.status == 0, last
    assert last.left == ["node-003.img.sha256", "node-003.manifest.json"]


@needs_root
@pytest.mark.disk
@pytest.mark.soak
def test_a_disk_without_room_for_the_checksum_has_image_and_manifest(built: Built, tmp_path: Path) -> None:
    failure, last = run_on_small_disks("output", tmp_path / "out", upkeep.default_root(), "3000", "img.sha256")
    assert (failure.status, failure.left) == (3, ["node-003.manifest.json"]), failure
    assert f"{tmp_path}/out: no room is left on its disk" in failure.error
    assert last.status == 0, last


@needs_root
@pytest.mark.disk
def test_a_download_goes_on_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, room = tmp_path / "empty", tmp_path / "room"
    empty.mkdir()
    room.mkdir()
    with mirror() as site:
        monkeypatch.setenv("http_proxy", site.url)
        *failures, last = run_on_small_disks(
            "growing_cache", room, empty, "60", "180", "2000", "fetch", "--base", DEBIAN
        )
        assert len(failures) >= 2
        assert last.status == 0, last
        for failure in failures:
            assert f"error: {failure.error}".startswith(f"error: {room}/cache/sha256/")
            assert (
                ".part: no room for the download\n  make room, or set PIMU_CACHE; the bytes that have come are kept"
                in failure.error
            )
        came = len([url for url, times in site.asked.items() if times == 1])
        assert came > len(site.pages) * 0.8  # what had come before the disk was full is not asked for again
        assert site.asked.keys() == site.pages.keys()


LOCKS = """
import subprocess, sys
from pathlib import Path
from builder.errors import DiskFullError
from builder.model.lock import Resolution
from builder.model.progress import Silent
from builder.lock.resolve import Resolver
from builder.fetch import Cache
from builder.store.products import Store

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
lock = folder / "pimu.lock"
def resolver():
    return Resolver(lock, Cache(folder), Store(folder), Silent(), offline=True)
resolver().keep("base", Resolution("{}", 1, ()))
before = lock.read_text()
(folder / "ballast").write_bytes(bytes(subprocess.os.statvfs(folder).f_bavail * 4096))
try:
    resolver().keep("worker", Resolution('{"packages":["vim"]}', 1, ()))
except DiskFullError as full:
    print(full)
assert lock.read_text() == before
assert sorted(path.name for path in folder.iterdir()) == [".pimu.lock.lock", "ballast", "pimu.lock"]
(folder / "ballast").unlink()
resolver().keep("worker", Resolution('{"packages":["vim"]}', 1, ()))
assert set(resolver().lock.resolutions) == {"base", "worker"}
"""


def test_a_lock_that_cannot_be_written_is_the_old_one(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c", LOCKS, tmp_path],
        env=environment({"PYTHONPATH": str(SHIPPED)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{tmp_path}: no room is left on its disk"
    assert "into the lock" in done.stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_each_kind_of_no_room_is_one_error(tmp_path: Path, number: int) -> None:
    """A full disk, a quota, a limit of the process."""

    def recipe(fresh: Path) -> None:
        (fresh / "half").write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(DiskFullError, match=f"{tmp_path}: no room is left on its disk\n  make room"):
        Store(tmp_path).make(step("layers"), recipe)
    assert not list((tmp_path / "work").iterdir())


def test_a_file_that_is_brought_leaves_no_half(tmp_path: Path) -> None:
    """RLIMIT_FSIZE ends the copy in its middle."""
    program = f"""
import resource, signal
from pathlib import Path
from builder.fetch import Cache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
Cache(Path({str(tmp_path / "cache")!r})).take_in(Path({str(tmp_path / "file")!r}), "0" * 64)
"""
    (tmp_path / "file").write_bytes(bytes(10000))
    done = subprocess.run([sys.executable, "-c", program], cwd=SHIPPED, capture_output=True, text=True, check=False)
    assert "DiskFullError" in done.stderr
    assert [path.name for path in Cache(tmp_path / "cache").files.iterdir() if path.suffix != ".lock"] == []
