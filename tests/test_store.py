"""What is made is made once, completely or not at all, whoever asks at the same time and whoever is killed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.locks import held
from builder.run import stopping
from builder.store import CONTENTS, INPUTS, Store

ROOT = Path(__file__).parents[1]
MAKER = """
import sys
from pathlib import Path
from builder.store import Store

def recipe(fresh):
    (fresh / "half").write_text("half")
    print("working", flush=True)
    sys.stdin.readline()
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    (fresh / "half").rename(fresh / "whole")

print(Store(Path(sys.argv[1])).make("layers", {"key": 1}, recipe), flush=True)
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


def test_the_directory_is_named_by_its_inputs_and_says_them(store: Store) -> None:
    made = store.make("layers", {"b": [1, None], "a": "ü"}, lambda fresh: (fresh / "x").touch())
    text = (made / INPUTS).read_text()
    assert json.loads(text) == {"a": "ü", "b": [1, None]}
    assert made == store.root / "layers" / hashlib.sha256(text.rstrip("\n").encode()).hexdigest()
    assert workspaces(store) == []


def test_any_difference_in_the_inputs_makes_another(store: Store) -> None:
    values: list[object] = [
        {"a": {"b": [1, 2]}},
        {"a": {"b": [2, 1]}},
        {"a": {"b": ["1", 2]}},
        {"a": {"b": [1, 2], "c": None}},
        {"a": {"b": [1, 2]}, "tool": "1.47.2"},
    ]
    assert len({store.make("layers", value, lambda _: None) for value in values}) == len(values)


def test_the_order_of_keys_makes_no_difference(store: Store) -> None:
    made = {store.make("x", value, lambda _: None) for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1})}
    assert len(made) == 1


def test_a_recipe_that_fails_leaves_nothing_and_may_be_tried_again(store: Store) -> None:
    def fails(fresh: Path) -> None:
        (fresh / "half").touch()
        raise RuntimeError("tool broke")

    with pytest.raises(RuntimeError, match="tool broke"):
        store.make("layers", 1, fails)
    assert workspaces(store) == []
    assert not [path for path in (store.root / "layers").iterdir() if path.is_dir()]
    assert (store.make("layers", 1, lambda fresh: (fresh / "x").touch()) / "x").exists()


def test_threads_make_it_once(store: Store) -> None:
    made: list[Path] = []

    def recipe(fresh: Path) -> None:
        made.append(fresh)
        time.sleep(0.1)
        (fresh / "x").write_text("x")

    barrier = threading.Barrier(4)

    def ask() -> str:
        barrier.wait()
        return (store.make("layers", 1, recipe) / "x").read_text()

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
    assert sorted(path.name for path in Path(first[0]).iterdir()) == [CONTENTS, INPUTS, "whole"]


def test_what_the_killed_have_left_is_cleared_away_and_nothing_else(
    store: Store, makers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    first, second = makers
    with store.workspace() as alive:
        (abandoned,) = (path for path in workspaces(store) if path.is_dir() and path != alive)
        assert (abandoned / "half").exists()

        first.kill()
        working, made = second.communicate("go on\n")[0].split()  # it has waited for the lock of the killed

        assert working == "working"
        assert (Path(made) / "whole").exists()
        assert not abandoned.exists()
        assert workspaces(store) == [alive, alive.with_suffix(".guard")]
    assert (tmp_path / "log").read_text() == "made\n"
    assert workspaces(store) == []
