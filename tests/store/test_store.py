"""Each thing is made once, completely or not at all, with any number of askers and any process killed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.host.file_lock import held
from builder.host.run import run, stopping
from builder.host.sync import sync_filesystem
from builder.model.lock import Resolution
from builder.store import products
from builder.store.products import ABOUT, CONTENTS, INPUTS, Store
from builder.store.step import Step
from tests.making import step

ROOT = Path(__file__).parents[2]
MAKER = """
import sys
from pathlib import Path
from builder.store.products import Store
from tests.making import step

def recipe(fresh):
    (fresh / "half").write_text("half")
    print("working", flush=True)
    sys.stdin.readline()
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    (fresh / "half").rename(fresh / "whole")

print(Store(Path(sys.argv[1])).make(step("layers"), recipe).folder, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def makers(store: Store, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that want the same thing. The recipe of the first is at work, and waits for a line on stdin."""
    command = (sys.executable, "-c", MAKER, store.root, tmp_path / "log")
    processes = []
    for number in range(2):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        processes.append(process)
        assert process.stdout is not None
        assert number or process.stdout.readline() == "working\n"
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def workspaces(store: Store) -> list[Path]:
    return sorted((store.root / "work").iterdir())


def test_the_directory_is_named_by_its_step_and_says_it(store: Store) -> None:
    inputs = {"b": [1, None], "a": "ü"}
    made = store.make(Step("layers", "pi", inputs, {"tar": "1.34"}, "c0de"), lambda fresh: (fresh / "x").touch())
    text = (made.folder / INPUTS).read_text()
    assert json.loads(text) == {"kind": "layers", "inputs": inputs, "tools": {"tar": "1.34"}, "code": "c0de"}
    assert made.folder == store.root / "layers" / hashlib.sha256(text.rstrip("\n").encode()).hexdigest()
    assert workspaces(store) == []


def test_any_difference_in_the_step_makes_another(store: Store) -> None:
    steps = [
        Step("layers", "pi", {"a": {"b": [1, 2]}}),
        Step("layers", "pi", {"a": {"b": [2, 1]}}),
        Step("layers", "pi", {"a": {"b": ["1", 2]}}),
        Step("layers", "pi", {"a": {"b": [1, 2], "c": None}}),
        Step("layers", "pi", {"a": {"b": [1, 2]}}, {"mke2fs": "1.47.2"}),
        Step("layers", "pi", {"a": {"b": [1, 2]}}, {"mke2fs": "1.47.3"}),
        Step("layers", "pi", {"a": {"b": [1, 2]}}, {}, "c0de"),
        Step("guests", "pi", {"a": {"b": [1, 2]}}),
    ]
    assert len({store.make(one, lambda _: None).folder for one in steps}) == len(steps)


def test_neither_the_order_of_keys_nor_the_name_makes_a_difference(store: Store) -> None:
    steps = Step("x", "one", {"a": 1, "b": 2}), Step("x", "other", {"b": 2, "a": 1})
    assert len({store.make(one, lambda _: None).folder for one in steps}) == 1


def test_a_product_comes_with_all_of_the_lock_that_is_in_it(store: Store) -> None:
    base, role, k3s = (Resolution(name, 0, ()) for name in ("base", "role", "k3s"))
    lower = store.make(step("layers", 1), lambda _: None, locked={"pi arm64": base})
    upper = store.make(step("layers", 2), lambda _: None, parents=[lower], locked={"pi arm64 packages": role})
    other = store.make(step("k3s"), lambda _: None, locked={"k3s": k3s})
    made = store.make(step("golden"), lambda _: None, parents=[lower, upper, other])
    again = store.make(step("golden"), lambda _: None, parents=[lower, upper, other])
    assert made.locked == again.locked == {"pi arm64": base, "pi arm64 packages": role, "k3s": k3s}
    assert lower.locked == {"pi arm64": base}


def test_a_recipe_that_fails_leaves_nothing_and_may_be_tried_again(store: Store) -> None:
    def fails(fresh: Path) -> None:
        (fresh / "half").touch()
        raise RuntimeError("tool broke")

    with pytest.raises(RuntimeError, match="tool broke"):
        store.make(step("layers"), fails)
    assert workspaces(store) == []
    assert not [path for path in (store.root / "layers").iterdir() if path.is_dir()]
    assert (store.make(step("layers"), lambda fresh: (fresh / "x").touch()).folder / "x").exists()


def test_threads_make_it_once(store: Store) -> None:
    made: list[Path] = []

    def recipe(fresh: Path) -> None:
        made.append(fresh)
        time.sleep(0.1)
        (fresh / "x").write_text("x")

    barrier = threading.Barrier(4)

    def ask() -> str:
        barrier.wait()
        return (store.make(step("layers"), recipe).folder / "x").read_text()

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
    assert answers == ["x"] * 4
    assert len(made) == 1


def test_who_is_told_to_end_waits_for_no_other_build(tmp_path: Path) -> None:
    with held(tmp_path / "lock"), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: held(tmp_path / "lock").__enter__())
        stopping.set()
        try:
            with pytest.raises(BuildError, match="stopped while waiting for another build"):
                waiting.result(10)
        finally:
            stopping.clear()


def test_processes_make_it_once(makers: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    first, second = (process.communicate("go on\n")[0].split() for process in makers)
    assert (tmp_path / "log").read_text() == "made\n"
    assert first == second
    assert {path.name for path in Path(first[0]).iterdir()} == {ABOUT, CONTENTS, INPUTS, "whole"}


def test_what_the_killed_have_left_is_cleared_away_and_nothing_else(
    store: Store, makers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    first, second = makers
    with store.workspace() as alive:
        (abandoned,) = (path for path in workspaces(store) if path != alive)
        assert (abandoned / "half").exists()

        first.kill()
        working, made = second.communicate("go on\n")[0].split()  # it has waited for the lock of the killed

        assert working == "working"
        assert (Path(made) / "whole").exists()
        assert not abandoned.exists()
        assert workspaces(store) == [alive]
    assert (tmp_path / "log").read_text() == "made\n"
    assert workspaces(store) == []


def test_a_step_runs_no_program_that_its_code_does_not_declare(store: Store) -> None:
    def makes(*words: str) -> Path:
        made = Step("layers", "of a test", {"words": words}, {"cp": ""}, "c0de")
        return store.make(made, lambda _: [run(words)]).folder

    with pytest.raises(AssertionError, match="a step runs true, which no TOOLS of its modules declares: true"):
        makes("true")
    assert makes("cp", "--version").is_dir()
    run(["true"])


def test_a_product_is_on_its_disk_before_it_has_its_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other disk of the host is waited for."""
    synced: list[list[str]] = []

    def sync(path: Path) -> None:
        synced.append(sorted(file.name for file in path.iterdir()))
        assert not list((store.root / "layers").glob("*/"))
        sync_filesystem(path)

    monkeypatch.setattr(products, "sync_filesystem", sync)
    monkeypatch.setattr("os.sync", None)
    store.make(step("layers"), lambda fresh: (fresh / "x").touch())
    assert synced == [[ABOUT, CONTENTS, INPUTS, "x"]]
    with pytest.raises(FileNotFoundError):
        sync_filesystem(tmp_path / "no-such")


def test_a_step_says_why_it_is_made_anew(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "builder")

    def told(one: Step) -> str:
        caplog.clear()
        store.make(one, lambda _: None)
        return next(line for line in caplog.messages if line.startswith(f"{one.kind} {one.name}: "))

    debs = ["a" * 64, "b" * 64]
    first = Step("layers", "pi", {"debs": debs, "epoch": 7}, {"tar": "1.34"}, "c1", {"builder.fs.tree.Tree": "1"})
    assert told(first) == "layers pi: made anew, because the cache has none of that name"
    assert told(first).startswith("layers pi: is in the cache (")
    assert told(replace(first, name="other")).startswith("layers other: is in the cache (")
    changed = replace(first, inputs={"debs": [*debs[:1], "c" * 64], "epoch": 8})
    said = f'inputs.debs: 1 gone, 1 new ("{"c" * 56}...); inputs.epoch 7 -> 8'
    assert told(changed) == f"layers pi: made anew, because {said}"
    newer = replace(changed, tools={"tar": "1.35"}, code="c2", parts={"builder.fs.tree.Tree": "2", "builder.x.y": "1"})
    os.utime(store.root / "layers" / first.key, (0, 0))
    said = 'tools.tar "1.34" -> "1.35"; code of builder.fs.tree.Tree, builder.x.y'
    assert told(newer) == f"layers pi: made anew, because {said}"
