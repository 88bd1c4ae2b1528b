"""The architecture, held: imports go down, and each door to the world is in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / "builder"

ROOMS = (
    *("limits", "text", "errors", "model", "profile", "template", "features", "reference", "plan"),
    *("host", "fs", "machines", "fetch", "store", "secrets", "project", "lock", "bake", "base", "guest", "image"),
    *("verify", "boot", "export", "flash", "publish", "doctor", "assemble", "build", "cli", "__main__"),
)
"""The folders and modules of builder/, lowest first. Each imports only from those before it."""

FLAT = 7
"""Modules at the top of builder/ beside __init__ and __main__ at most; every other module is in a folder."""

PURE = ("limits", "text", "errors", "model", "profile", "template", "features", "reference", "plan")
PURE_PAPERS = ("bmap", "licences", "packages", "provenance", "os_list", "purl", "spdx", "timestamp")
"""Modules of builder.publish that turn values into bytes. Other modules read files and ask clocks for them."""

DOORS = {
    "subprocess": "builder.host.run",
    "guestfs": "builder.machines.appliance",
    "requests": "builder.fetch",
    "click": "builder.cli",
    "debian": "builder.lock.stanzas",
    "license_expression": "builder.publish.licences",
    "packageurl": "builder.publish.purl",
    "tqdm": "builder.cli",
    "multiprocessing": "builder.host.rendering",
}
"""Module: the only room that imports it."""

WORLDLY = """
    builtins ctypes fcntl fileinput getpass glob http io locale mmap multiprocessing os platform pty pwd random secrets
    select shutil signal socket ssl subprocess sys tempfile termios threading time urllib.request zoneinfo
    filelock guestfs requests tqdm click
"""
"""Modules that a pure room cannot import: it gets texts and values."""

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
    def room(self) -> str:
        return room(self.module)

    @property
    def is_pure(self) -> bool:
        return self.room in PURE or self.module in {f"builder.publish.{name}" for name in PURE_PAPERS}

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


def room(module: str) -> str:
    """The folder or module right below builder/; "" for builder itself, which everybody may ask for the version."""
    return module.split(".")[1] if "." in module else ""


def broken(rule: Iterator[str]) -> str:
    return "\n".join(rule)


def test_the_rooms_are_these() -> None:
    modules = {source.module for source in sources()}
    assert {room(module) for module in modules} - {""} == set(ROOMS)
    assert set(DOORS.values()) <= modules
    assert {f"builder.publish.{name}" for name in PURE_PAPERS} <= modules
    flat = [path.stem for path in BUILDER.glob("*.py") if path.stem not in ("__init__", "__main__")]
    assert len(flat) <= FLAT, flat


def test_imports_go_down() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            for name, line in source.imports():
                below = room(name) if name.startswith("builder.") else ""
                if below in ROOMS and below != source.room and not _is_below(below, source.room):
                    yield f"{source.path}:{line}: {source.room} imports {name}, which is above"

    assert not broken(rule())


def _is_below(one: str, other: str) -> bool:
    return other != "" and ROOMS.index(one) < ROOMS.index(other)


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_one_door(library: str, door: str) -> None:
    importers = {source.module for source in sources() for name, _ in source.imports() if name.split(".")[0] == library}
    assert importers, f"nothing imports {library}"
    assert all(module == door or module.startswith(f"{door}.") for module in importers), importers


def test_one_door_reads_yaml() -> None:
    """PyYAML by itself takes an address 52:54:00:12:34:56 for a number, and the last of two equal keys."""
    reading = {"load", "load_all", "safe_load", "safe_load_all", "full_load", "compose", "parse", "scan", "SafeLoader"}
    readers = {
        source.module
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id == "yaml" and node.attr in reading
    }
    assert readers == {"builder.profile.reader"}


def test_the_pure_rooms_touch_nothing() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            if not source.is_pure:
                continue
            for name, line in source.imports():
                module, _, attribute = name.partition(".")
                is_worldly = any(f"{name}.".startswith(f"{worldly}.") for worldly in WORLDLY.split())
                if is_worldly or (module == "pathlib" and attribute not in PURE_PATHS):
                    yield f"{source.path}:{line}: {source.room} is pure and imports {name}"
            for name, line in source.calls():
                if name in TOUCHING_CALLS:
                    yield f"{source.path}:{line}: {source.room} is pure and calls {name}()"

    assert not broken(rule())


def test_the_table_of_contents_does_nothing_itself() -> None:
    (build,) = (source for source in sources() if source.module == "builder.build")
    assert not {name.split(".")[0] for name, _ in build.imports()} & {"os", "shutil", "tempfile", "io"}
    assert not {name for name, _ in build.calls()} & (TOUCHING_CALLS | {"write_text", "write_bytes", "mkdir", "unlink"})


def test_only_the_command_line_prints_and_exits() -> None:
    def rule() -> Iterator[str]:
        for source in sources():
            runs_inside = any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(source.tree))
            if source.room in ("cli", "__main__") or runs_inside:
                continue
            yield from (f"{source.path}:{line}: {name}" for name, line in source.calls() if name in PRINTING_CALLS)

    assert not broken(rule())


def test_one_place_prints() -> None:
    """It escapes characters that are not printable: a name from outside must not repaint the terminal."""
    printing = {"echo", "secho", "prompt", "echo_via_pager"}

    def rule() -> Iterator[str]:
        for source in sources():
            if source.module != "builder.cli.terminal":
                yield from (f"{source.path}:{line}: {name}" for name, line in source.calls() if name in printing)

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
