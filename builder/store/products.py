"""The results of pins and plans: `<kind>/<key>/`, complete or absent, each beside the step that made it.

The key is the sha256 of the step's canonical text: inputs, tools and code (builder.store.step). `step.json` is that
text, `about.json` says what people call the product and which code made it, `contents.json` what is in it: who reads a
whole file of it asks `require_whole` first, for a disk may change the bytes that it keeps.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import DamagedError
from builder.fetch.cache import sha256_of
from builder.host.file_lock import held
from builder.host.free_space import told_when_full
from builder.host.run import declared
from builder.host.scratch import PRODUCT, scratch_folder
from builder.host.sync import sync_filesystem
from builder.model.lock import LockedFile, LockedImage, Resolution
from builder.store.reasons import reasons
from builder.store.step import Maker, Step

_MADE = 0o755
WORK = "work"
INPUTS, CONTENTS, ABOUT = "step.json", "contents.json", "about.json"
_SIDECARS = frozenset({INPUTS, CONTENTS, ABOUT})
_MAKE_ROOM = "make room (`pimu-build cache prune` removes unused products), or set PIMU_CACHE to another folder"
_LOG = logging.getLogger(__name__)

LockEntries = Mapping[str, Resolution | LockedImage | LockedFile]
"""Entries of pimu.lock by their names."""


@dataclass(frozen=True, slots=True)
class Product:
    """A made thing and where it came from: `locked` is all of pimu.lock that is in it, its parents' entries too."""

    folder: Path
    locked: LockEntries = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.folder.name


@dataclass(frozen=True, slots=True)
class Blobs:
    """A product's files for images, by the names that edits know them by."""

    product: Product
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Store:
    root: Path

    def step(self, maker: Maker, name: str, inputs: Mapping[str, Any]) -> Step:
        """The step that makes the product `name` of these inputs; see Maker.step."""
        return maker.step(self.root, name, inputs)

    def make(
        self,
        step: Step,
        fill: Callable[[Path], object],
        *,
        parents: Iterable[Product] = (),
        locked: LockEntries | None = None,
    ) -> Product:
        """The product of a step; `fill` fills a fresh folder when there is none. `parents` are the products that it
        contains, `locked` the entries of pimu.lock that it is made of beside theirs.

        Two builds that want the same thing make it once: the second waits for the kernel lock of the first.
        Raises DamagedError when the folder that is there was made by another step.
        """
        entries = {name: entry for parent in parents for name, entry in parent.locked.items()}
        return Product(self._made(step, fill), entries | dict(locked or {}))

    def _made(self, step: Step, fill: Callable[[Path], object]) -> Path:
        final = self.root / step.kind / step.key
        if final.is_dir():
            if _read(final / INPUTS) != f"{step.text}\n".encode():
                raise DamagedError(str(final))
            os.utime(final)
            _LOG.debug("%s %s: is in the cache (%.12s)", step.kind, step.name, step.key)
            return final
        final.parent.mkdir(parents=True, exist_ok=True)
        with held(final.with_suffix(".lock")):
            if not final.is_dir():
                _LOG.debug("%s %s: made anew, because %s", step.kind, step.name, self.why(step))
                with self.workspace() as fresh:
                    begun = time.monotonic()
                    with declared(step.tools if step.code else None):
                        fill(fresh)
                    _LOG.debug("%s %s: made in %.2f s", step.kind, step.name, time.monotonic() - begun)
                    (fresh / CONTENTS).write_text(json.dumps(contents(fresh), indent=0))
                    (fresh / INPUTS).write_text(step.text + "\n")
                    (fresh / ABOUT).write_text(json.dumps({"name": step.name, "parts": dict(step.parts)}))
                    fresh.chmod(_MADE)
                    sync_filesystem(fresh)
                    fresh.rename(final)
        return final

    def why(self, step: Step) -> str:
        """The differences from the step that made the latest product of the same kind and name, in words."""
        made = [folder for folder in (self.root / step.kind).glob("*") if folder.is_dir() and folder.name != step.key]
        for folder in sorted(made, key=lambda folder: folder.stat().st_mtime, reverse=True):
            about = about_of(folder)
            if about.get("name") == step.name:
                found = reasons(_json(folder / INPUTS), about.get("parts", {}), step)
                return "; ".join(found) or "its older product was damaged"
        return "the cache has none of that name"

    def remove(self, made: Path) -> None:
        """By a rename first: half a thing must never bear its name, whoever is killed in the middle."""
        with self.workspace() as work:
            made.rename(work / made.name)

    def remove_damaged(self, made: Path) -> None:
        """Another build may have done so by now, and have made it anew."""
        with held(made.with_suffix(".lock")):
            if made.is_dir() and not is_whole(made):
                self.remove(made)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A new folder in the cache for its owner alone: unpacked images hold secrets, and a kill leaves them in it
        until the next sweep. It is gone afterwards, unless it was renamed. Raises DiskFullError.
        """
        work = self.root / WORK
        work.mkdir(parents=True, exist_ok=True)
        with scratch_folder(PRODUCT, work) as path, told_when_full(self.root, _MAKE_ROOM):
            yield path


def contents(made: Path) -> dict[str, str]:
    """sha256 of every file that a maker wrote, by its path. It shows later whether the disk has kept the file."""
    found = (path for path in sorted(made.rglob("*")) if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(made)): sha256_of(path)
        for path in found
        if path.parent != made or path.name not in _SIDECARS
    }


def require_whole(made: Path, *names: str) -> None:
    """Raises DamagedError unless these files of a made thing (without names: all) have not changed since it was made.

    Hashing takes a second for 1.8 GB: for files that are read as a whole, or are small.
    """
    recorded = _recorded(made)
    if not (all(_is_kept(made, name, recorded) for name in names) if names else is_whole(made)):
        raise DamagedError(str(made))


def is_whole(made: Path) -> bool:
    """Whether a made thing matches its name, its inputs and its contents."""
    key = hashlib.sha256(_read(made / INPUTS).removesuffix(b"\n")).hexdigest()
    return key == made.name and _recorded(made) == contents(made)


def _is_kept(made: Path, name: str, recorded: object) -> bool:
    path = made / name
    return isinstance(recorded, dict) and path.is_file() and recorded.get(name) == sha256_of(path)


def about_of(made: Path) -> dict[str, Any]:
    """`name`: what people call the product; `parts`: the code that made it. Empty where a disk has lost it, for it
    shapes nothing."""
    return _json(made / ABOUT)


def _recorded(made: Path) -> object:
    return _json(made / CONTENTS) if (made / CONTENTS).is_file() else None


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(_read(path))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
