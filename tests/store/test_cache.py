"""The cache as its owner sees it: listed, checked, emptied, and never under a running build."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli.terminal import NORMAL, VERBOSE, Terminal
from builder.host.run import kill, output, run, start
from builder.store.products import Store
from builder.store.step import Step
from builder.store.upkeep import in_use
from tests.making import step

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
    good, bad = (
        store.make(step("layers", name), lambda fresh: (fresh / "root.tar").touch()).folder for name in ("good", "bad")
    )
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
    made = store.make(step("layers"), lambda fresh: (fresh / "root.tar").touch()).folder
    program = "import os, shutil; from builder.cli import main\n"
    program += "shutil.rmtree = lambda path: os._exit(9)\nmain(['cache', 'prune', '--days', '0'])"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 9
    assert not made.exists()
    with store.workspace() as work:
        assert [path for path in work.parent.iterdir() if path.is_dir()] == [work]


def test_nothing_is_pruned_under_a_build(pimu: Run, project_folder: Path, capsys: Output) -> None:
    holder = "from pathlib import Path; from builder.store.upkeep import in_use; import sys\n"
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
    program = "import os, sys; from pathlib import Path; from builder.store.products import Store\n"
    program += "with Store(Path(sys.argv[1])).workspace(): os._exit(9)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", program, tmp_path], env=env, check=False).returncode == 9
    assert len(list((tmp_path / "work").iterdir())) == 1
    with in_use(tmp_path):
        assert not list((tmp_path / "work").iterdir())


def test_prune_removes_the_leftovers_of_older_versions(pimu: Run, project_folder: Path) -> None:
    """They named a workspace by digits, and kept its lock in a file beside it."""
    left = project_folder / "cache/work/0123456789abcdef"
    (left / "room").mkdir(parents=True)
    left.with_suffix(".guard").touch()
    assert pimu("cache", "prune", "--days", "9") == 0
    assert not list(left.parent.iterdir())


def test_things_are_listed_by_what_they_are(pimu: Run, project_folder: Path, capsys: Output) -> None:
    root = project_folder / "cache"
    for kind, name, age in (("golden", "worker on debian-trixie", 3), ("layers", "debian-trixie", 0)):
        made = Store(root).make(Step(kind, name, {}), lambda fresh: (fresh / "x").write_bytes(bytes(2 << 20))).folder
        os.utime(made, (0, time.time() - age * 86400 - 9))
    for digit in "01":
        (root / "sha256").mkdir(exist_ok=True)
        (root / "sha256" / (digit * 64)).write_bytes(bytes(4096))
    (root / "layers/of-an-older-version").mkdir()
    assert pimu("cache", "list") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert re.fullmatch(r"\S+ MiB golden 3 days ago worker on debian-trixie", lines[0]), lines
    assert re.fullmatch(r"\S+ MiB layers just now debian-trixie", lines[1]), lines
    assert lines[2].endswith("layers just now without a name, of-an-older-"), lines
    assert re.fullmatch(r"\S+ KiB downloads just now 2 files", lines[3]), lines
    assert lines[4].endswith(" in all")
    assert not re.search("[0-9a-f]{40}", "\n".join(lines))
    assert pimu("cache", "list", "--json") == 0
    assert {entry["what"] for entry in json.loads(capsys.readouterr().out)} >= {"worker on debian-trixie", ""}


def test_the_code_behind_a_kind_is_explained(pimu: Run, capsys: Output) -> None:
    assert pimu("cache", "explain", "golden") == 0
    first, programs, *modules = capsys.readouterr().out.splitlines()
    assert first.startswith("golden: made by builder.image.golden._write, code ")
    assert re.search(r"\bmke2fs \d", programs)
    assert "fs/mke2fs.conf" in modules
    (ext4,) = (line for line in modules if line.startswith("builder.fs.ext4: "))
    assert {"make", "needed_size"} <= set(ext4.split())
    assert pimu("cache", "explain", "golden", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert "builder.fs.ext4.make" in told["parts"]
    assert pimu("cache", "explain", "cakes") == 2


def test_a_verbose_build_tells_its_commands_their_seconds_and_why(project_folder: Path, capsys: Output) -> None:
    def commands() -> None:
        run(["cp", "--version"])
        kill(start(["sleep", "60"]))
        output(["head", "-c", "9", "/dev/zero"], limit=9, timeout=60)

    terminal = Terminal(sys.stderr)
    store = Store(project_folder / "cache")
    try:
        for verbosity in (NORMAL, VERBOSE):
            terminal.set_verbosity(verbosity)
            for _ in range(2):
                store.make(Step("layers", "pi", {"of": verbosity}), lambda _: commands())
            told = capsys.readouterr().err.splitlines()
            if verbosity == NORMAL:
                assert told == []
        assert told[0] == f"debug: layers pi: made anew, because inputs.of {NORMAL} -> {VERBOSE}"
        assert re.fullmatch(r"debug: +\d+\.\d\d s  cp --version", told[1])
        assert re.fullmatch(r"debug: +\d+\.\d\d s  sleep 60  \(status -9\)", told[2])
        assert re.fullmatch(r"debug: +\d+\.\d\d s  head -c 9 /dev/zero", told[3])
        assert re.fullmatch(r"debug: layers pi: made in \d+\.\d\d s", told[4])
        assert told[5].startswith("debug: layers pi: is in the cache (")
    finally:
        terminal.close()
