"""The cache as its owner sees it: listed, checked, emptied, and never under a running build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cache import in_use
from builder.store import Store

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]


def test_damage_is_found_removed_and_told(pimu: Run, project_folder: Path, capsys: Output) -> None:
    downloads = project_folder / "cache/sha256"
    downloads.mkdir(parents=True)
    good = downloads / "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    good.write_text("hello")
    bad = downloads / ("0" * 64)
    bad.write_text("hello")
    assert pimu("cache", "verify") == 4
    assert str(bad) in capsys.readouterr().err
    assert list(downloads.iterdir()) == [good]
    assert pimu("cache", "verify") == 0


def test_a_made_thing_that_the_disk_has_changed_is_found(pimu: Run, project_folder: Path, capsys: Output) -> None:
    store = Store(project_folder / "cache")
    good, bad = (store.make("layers", name, lambda fresh: (fresh / "root.tar").touch()) for name in ("good", "bad"))
    assert pimu("cache", "verify") == 0
    (bad / "root.tar").write_text("flipped")
    assert pimu("cache", "verify") == 4
    assert str(bad) in capsys.readouterr().err
    assert good.exists()
    assert not bad.exists()


def test_prune_removes_what_nobody_used(pimu: Run, project_folder: Path, capsys: Output) -> None:
    layers = project_folder / "cache/layer"
    for name, age in (("old", 40), ("new", 1)):
        (layers / name).mkdir(parents=True)
        (layers / name / "layer.tar").write_bytes(bytes(10000))
        os.utime(layers / name, (0, time.time() - age * 86400))
    assert pimu("cache", "list", "--json") == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["old", "new"]
    assert pimu("cache", "prune") == 0
    assert [path.name for path in layers.iterdir()] == ["new"]


def test_prune_to_a_size_takes_the_longest_unused_first(pimu: Run, project_folder: Path, capsys: Output) -> None:
    layers = project_folder / "cache/layer"
    for age in (1, 2, 3):
        (layers / f"{age}").mkdir(parents=True)
        (layers / f"{age}/layer.tar").write_bytes(bytes(1 << 20))
        os.utime(layers / f"{age}", (0, time.time() - age))
    assert pimu("cache", "prune", "--to", "0.0015") == 0
    assert [path.name for path in layers.iterdir()] == ["1"]
    assert pimu("cache", "prune", "--to", "0.0015") == 0
    assert [path.name for path in layers.iterdir()] == ["1"]


def test_what_a_killed_prune_leaves_bears_no_name(pimu: Run, project_folder: Path) -> None:
    """Half a layer would be taken for a whole one."""
    store = Store(project_folder / "cache")
    made = store.make("layers", "one", lambda fresh: (fresh / "root.tar").touch())
    program = "import os, shutil; from builder.cli import main\n"
    program += "shutil.rmtree = lambda path: os._exit(9)\nmain(['cache', 'prune', '--days', '0'])"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 9
    assert not made.exists()
    with store.workspace() as work:
        assert [path for path in work.parent.iterdir() if path.is_dir()] == [work]


def test_nothing_is_pruned_under_a_build(pimu: Run, project_folder: Path, capsys: Output) -> None:
    holder = "from pathlib import Path; from builder.cache import in_use; import sys\n"
    holder += "with in_use(Path('cache')): print('held', flush=True); sys.stdin.read()"
    build = subprocess.Popen(
        [sys.executable, "-c", holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert build.stdout is not None
    build.stdout.readline()
    assert pimu("cache", "prune", "--days", "0") == 6
    build.communicate()
    assert pimu("cache", "prune", "--days", "0") == 0


def test_a_build_that_finds_all_made_leaves_nothing_of_a_killed_one(tmp_path: Path) -> None:
    program = "import os, sys; from pathlib import Path; from builder.store import Store\n"
    program += "with Store(Path(sys.argv[1])).workspace(): os._exit(9)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", program, tmp_path], env=env, check=False).returncode == 9
    assert len(list((tmp_path / "work").iterdir())) == 2
    with in_use(tmp_path):
        assert not list((tmp_path / "work").iterdir())
