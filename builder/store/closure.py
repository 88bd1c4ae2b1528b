"""The code that shapes a product: each function, class and constant of this package that its maker reaches.

A cache key that leaves code out serves yesterday's bytes for today's code. A key with too much code makes every base
anew for a corrected sentence. So the code is followed from one function on, definition by definition, and a definition
counts by its syntax tree without docstrings, comments, error messages and descriptions of settings.

Followed are the names that a definition mentions, in annotations too: a method of a value is known by the value's
class. A module that is used as a value counts whole, and so does one that a string names for `python -m`. A file that
is no Python counts where a definition names it as `Path(__file__).with_name("NAME")`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.host import files
from builder.store import syntax
from builder.store.syntax import Reference

PACKAGE = Path(__file__).parents[1]
KEPT = "code.json"
"""The file of a cache that remembers closures."""
_RUNS = frozenset(("builder.host.run", name) for name in ("run", "start", "output"))

SEAM = {
    "builder.cli": "prints",
    "builder.errors": "says what went wrong",
    "builder.fetch.cache": "each file is known by its digest, which is an input",
    "builder.fetch.download": "likewise",
    "builder.fetch.pins": "likewise",
    "builder.fetch.transfer": "likewise",
    "builder.fetch.upstream": "likewise",
    "builder.host.file_lock": "decides who makes a product",
    "builder.host.free_space": "ends a build that can make no product",
    "builder.host.tools": "asks for versions, which are inputs",
    "builder.lock": "its answers are inputs",
    "builder.plan": "plans are inputs",
    "builder.profile": "settings are inputs",
    "builder.project": "settings and edits are inputs",
    "builder.store": "keeps products",
    "builder.text": "shapes messages",
}
"""Modules and folders that are not followed, each with the reason why it shapes no byte beyond a step's inputs."""


@dataclass(frozen=True, slots=True)
class Closure:
    """`parts`: digests, sha256 in hexadecimal, by `builder.fs.ext4.make` or `fs/mke2fs.conf`. `programs`: the host
    programs that the reached modules declare. `paths`: the files that were read, relative to the package."""

    parts: Mapping[str, str]
    programs: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    def digest(self) -> str:
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self.parts.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


class Code:
    """The modules of a package, each analysed once."""

    def __init__(self, package: Path = PACKAGE) -> None:
        self.package = package
        self._analysed = functools.cache(self._analyse)

    def closure(self, module: str, name: str) -> Closure:
        """Follow the definition `name` of `module` through each definition that it uses. Raises KeyError when there is
        no such definition."""
        if name not in self.module(module).definitions:
            raise KeyError(f"{module}.{name}")
        found = _Found({}, set(), set())
        waiting, seen = [(module, name)], set[Reference]()
        while waiting:
            reference = waiting.pop()
            if reference not in seen:
                seen.add(reference)
                waiting += self._reach(reference, found)
        return Closure(found.parts, tuple(sorted(found.programs)), tuple(sorted(found.paths)))

    def module(self, module: str) -> syntax.Module:
        """Raises KeyError when there is no such module."""
        analysed = self._analysed(module)
        if analysed is None:
            raise KeyError(module)
        return analysed

    def stamp(self, paths: Sequence[str]) -> str:
        """A digest of these files' and folders' contents, and of everything that their analysis depends on."""
        total = hashlib.sha256(f"{sys.version_info[:2]} {_own_code()}\n".encode())
        for path in paths:
            for file in _files(self.package / path):
                total.update(f"{file.relative_to(self.package)} {_digest(file)}\n".encode())
        return total.hexdigest()

    def _reach(self, reference: Reference, found: _Found) -> Iterator[Reference]:
        module, names = self._meant(*reference)
        if module is None or _is_beyond(module):
            return
        analysed = self.module(module)
        found.paths.add(self._path(module))
        for name in [*(names or analysed.definitions), ""]:
            definition = analysed.definitions.get(name)
            if definition is None:
                continue
            found.parts[f"{module}.{name}".rstrip(".")] = definition.digest
            if _RUNS & {self._plain(used) for used in definition.uses}:
                found.programs.update(analysed.tools)
            for file in definition.files:
                folder = str(Path(self._path(module)).parent / file)
                found.paths.add(folder)
                for one in _files(self.package / folder):
                    found.parts[str(one.relative_to(self.package))] = _digest(one)
            yield from definition.uses

    def _meant(self, dotted: str, attribute: str) -> tuple[str | None, list[str]]:
        """The module that a reference is about, and the names in it; none of them where all of it is meant."""
        if self._analysed(dotted) is not None:
            if not attribute:
                return dotted, []
            below = f"{dotted}.{attribute}"
            return (below, []) if self._analysed(below) is not None else (dotted, [attribute])
        parent, _, name = dotted.rpartition(".")
        return (parent, [name]) if parent and self._analysed(parent) is not None else (None, [])

    def _plain(self, reference: Reference) -> Reference:
        module, names = self._meant(*reference)
        return module or "", names[0] if names else ""

    def _path(self, module: str) -> str:
        _, *parts = module.split(".")
        folder = Path(*parts)
        return str(folder / "__init__.py" if (self.package / folder).is_dir() else folder.with_suffix(".py"))

    def _analyse(self, module: str) -> syntax.Module | None:
        if module.split(".", maxsplit=1)[0] != self.package.name:
            return None
        path = self.package / (self._path(module) if "." in module else "__init__.py")
        return syntax.analysed(path.read_text(), module) if path.is_file() else None


@dataclass(frozen=True, slots=True)
class _Found:
    parts: dict[str, str]
    programs: set[str]
    paths: set[str]


_CODE = Code()


def closure(module: str, name: str, cache: Path) -> Closure:
    """The closure of a definition of this package, remembered in the folder `cache` as long as no file of it changes:
    to analyse fifty modules takes tenths of a second."""
    return _closure(module, name, cache / KEPT)


@functools.cache
def _closure(module: str, name: str, file: Path) -> Closure:
    key = f"{module}.{name}"
    if (known := _remembered(_read(file).get(key))) is not None:
        return known
    found = _CODE.closure(module, name)
    text = json.dumps({**asdict(found), "stamp": _CODE.stamp(found.paths)})
    entry = {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    with suppress(OSError):  # a full disk is told of by the step that needs its room
        file.parent.mkdir(parents=True, exist_ok=True)
        files.replace(file, json.dumps(_read(file) | {key: entry}).encode())
    return found


def _remembered(entry: object) -> Closure | None:
    """The closure of an entry of the file; None where the disk has changed the entry, or the code has changed since."""
    match entry:
        case {"text": str(text), "sha256": str(sha256)} if hashlib.sha256(text.encode()).hexdigest() == sha256:
            known = json.loads(text)
            if known["stamp"] == _CODE.stamp(known["paths"]):
                return Closure(known["parts"], tuple(known["programs"]), tuple(known["paths"]))
    return None


@functools.cache
def _own_code() -> str:
    return " ".join(_digest(Path(file)) for file in (__file__, syntax.__file__))


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _is_beyond(module: str) -> bool:
    return any(module == cut or module.startswith(f"{cut}.") for cut in SEAM)


def _files(path: Path) -> list[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and "__pycache__" not in file.parts]


def _digest(file: Path) -> str:
    """sha256 of a file's content and of its executable bit."""
    return hashlib.sha256(f"{bool(file.stat().st_mode & 0o100)} ".encode() + file.read_bytes()).hexdigest()
