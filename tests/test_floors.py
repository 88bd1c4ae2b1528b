"""The architecture, held: imports go down or stay level, and each door to the world is in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILDER = ROOT / "builder"

FLOORS = {
    "builder": 0,
    "builder.errors": 0,
    "builder.model": 0,
    "builder.profile": 1,
    "builder.plan": 1,
    "builder.features": 1,
    "builder.templates": 1,
    "builder.artifacts": 1,
    "builder.kitchen": 3,
    "builder.build": 3,
    "builder.cli": 4,
    "builder.__main__": 4,
}
"""Floor of a room and all in it; a room that is not named is on floor 2, which may touch the world."""

DOORS = {
    "subprocess": "builder.run",
    "guestfs": "builder.appliance",
    "requests": "builder.sources",
    "click": "builder.cli",
    "tqdm": "builder.cli",
}
"""Module: the only room that imports it."""

WORLDLY = """
    builtins ctypes fcntl fileinput getpass glob http io locale mmap multiprocessing os platform pty pwd random secrets
    select shutil signal socket ssl subprocess sys tempfile termios threading time urllib zoneinfo
    filelock guestfs requests tqdm click
"""
"""What floors 0 and 1 cannot import: they get texts and values."""

PURE_PATHS = frozenset({"PurePath", "PurePosixPath"})
TOUCHING_CALLS = frozenset({"open", "input", "uuid1", "uuid4", "getnode", "now", "utcnow", "today"})
PRINTING_CALLS = frozenset({"print", "exit", "quit", "SystemExit"})
STARTING_CALLS = frozenset({"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp"})


@dataclass(frozen=True)
class Source:
    path: Path
    module: str
    tree: ast.Module

    @property
    def floor(self) -> int:
        return floor(self.module)

    def imports(self) -> Iterator[tuple[str, int]]:
        """Dotted names, with the names taken from a module as if they were modules in it: some of them are."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: a relative import"
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)

    def calls(self) -> Iterator[tuple[str, int]]:
        """Last name of what is called or raised."""
        for node in ast.walk(self.tree):
            called = node.func if isinstance(node, ast.Call) else node.exc if isinstance(node, ast.Raise) else None
            if isinstance(called, ast.Name):
                yield called.id, called.lineno
            elif isinstance(called, ast.Attribute):
                yield called.attr, called.lineno


@cache
def sources() -> tuple[Source, ...]:
    return tuple(
        Source(path, module_of(path), ast.parse(path.read_text(), filename=str(path)))
        for path in sorted(BUILDER.rglob("*.py"))
    )


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor(module: str) -> int:
    if module == "builder":
        return FLOORS[module]
    return FLOORS.get(".".join(module.split(".")[:2]), 2)


def broken(rule: Iterator[str]) -> str:
    return "\n".join(rule)


def test_every_named_room_exists() -> None:
    modules = {source.module for source in sources()}
    assert not FLOORS.keys() - modules
    assert not set(DOORS.values()) - modules


def test_imports_go_down_or_stay_level() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            for name, line in source.imports():
                if name.startswith("builder.") and floor(name) > source.floor:
                    yield f"{source.path}:{line}: floor {source.floor} imports {name} of floor {floor(name)}"

    assert not broken(rule())


@pytest.mark.parametrize(("library", "room"), DOORS.items())
def test_one_door(library: str, room: str) -> None:
    importers = {source.module for source in sources() for name, _ in source.imports() if name.split(".")[0] == library}
    assert importers, f"nothing imports {library}"
    assert all(module == room or module.startswith(f"{room}.") for module in importers), importers


def test_the_lower_floors_touch_nothing() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            if source.floor > 1:
                continue
            for name, line in source.imports():
                module, _, attribute = name.partition(".")
                if module in WORLDLY.split() or (module == "pathlib" and attribute not in PURE_PATHS):
                    yield f"{source.path}:{line}: floor {source.floor} imports {name}"
            for name, line in source.calls():
                if name in TOUCHING_CALLS:
                    yield f"{source.path}:{line}: floor {source.floor} calls {name}()"

    assert not broken(rule())


def test_the_table_of_contents_does_nothing_itself() -> None:
    (build,) = (source for source in sources() if source.module == "builder.build")
    assert not {name.split(".")[0] for name, _ in build.imports()} & {"os", "shutil", "tempfile", "io"}
    assert not {name for name, _ in build.calls()} & (TOUCHING_CALLS | {"write_text", "write_bytes", "mkdir", "unlink"})


def test_only_the_command_line_prints_and_exits() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            runs_inside = any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(source.tree))
            if source.floor == 4 or runs_inside:
                continue
            yield from (f"{source.path}:{line}: {name}" for name, line in source.calls() if name in PRINTING_CALLS)

    assert not broken(rule())


def test_processes_start_at_one_door() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            yield from (
                f"{source.path}:{line}: {name}"
                for name, line in source.calls()
                if name in STARTING_CALLS or (name.startswith(("exec", "spawn")) and name != "execute")
            )

    assert not broken(rule())
