"""What was made from pins and plans: `<kind>/<key>/`, complete or absent, each beside the value that its key hashes.

The key is the sha256 of the whole canonical value (parent key, edits, pins, tool versions, recipe), so nothing that
shapes the result can be left out of it by oversight; `inputs.json` explains every hit and miss, `contents.json` says
what was made: who reads a whole file of it asks `require_whole` first, for a disk may change what it keeps.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.errors import DamagedError
from builder.locks import held
from builder.model.lock import canonical
from builder.room import told_when_full
from builder.sandbox import remove_tree
from builder.sources.cache import sha256_of

INPUTS, CONTENTS = "inputs.json", "contents.json"
_MAKE_ROOM = "make room (`pimu-build cache prune` removes what is long unused), or set PIMU_CACHE to another folder"


@dataclass(frozen=True, slots=True)
class Store:
    root: Path

    def make(self, kind: str, inputs: object, recipe: Callable[[Path], None]) -> Path:
        """The directory for `inputs`; `recipe` fills a fresh one when there is none.

        Two builds that want the same thing make it once: the second waits for the kernel lock of the first.
        Raises DamagedError when what is there does not say that it was made from `inputs`.
        """
        text = canonical(inputs)
        final = self.root / kind / hashlib.sha256(text.encode()).hexdigest()
        if final.is_dir():
            if _read(final / INPUTS) != f"{text}\n".encode():
                raise DamagedError(str(final))
            os.utime(final)
            return final
        final.parent.mkdir(parents=True, exist_ok=True)
        with held(final.with_suffix(".lock")):
            if not final.is_dir():
                with self.workspace() as fresh:
                    recipe(fresh)
                    (fresh / CONTENTS).write_text(json.dumps(contents(fresh), indent=0))
                    (fresh / INPUTS).write_text(text + "\n")
                    os.sync()
                    fresh.rename(final)
        return final

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
        """A new directory beside the store, gone afterwards (unless it was renamed), with leftovers of the killed.

        Its kernel lock says that its maker lives, so that one who comes later removes only what nobody owns.
        Raises DiskFullError.
        """
        work = self.root / "work"
        work.mkdir(parents=True, exist_ok=True)
        sweep(work)
        path = work / secrets.token_hex(8)
        guard = _guard(path.with_suffix(".guard"))
        try:
            path.mkdir()
            with told_when_full(self.root, _MAKE_ROOM):
                yield path
        finally:
            if path.exists():
                remove(path)
            path.with_suffix(".guard").unlink(missing_ok=True)
            os.close(guard)


def contents(made: Path) -> dict[str, str]:
    """sha256 of every file that a recipe made, by its path: what shows later whether the disk has kept it."""
    files = (path for path in sorted(made.rglob("*")) if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(made)): sha256_of(path)
        for path in files
        if path.parent != made or path.name not in (INPUTS, CONTENTS)
    }


def require_whole(made: Path, *names: str) -> None:
    """Raises DamagedError unless these files of a made thing (without names: all) are what they were when it was made.

    Hashing takes a second for 1.8 GB: for what is read altogether, or is small.
    """
    recorded = _recorded(made)
    if not (all(_is_kept(made, name, recorded) for name in names) if names else is_whole(made)):
        raise DamagedError(str(made))


def is_whole(made: Path) -> bool:
    """Whether a made thing is what its name, its inputs and its contents say."""
    key = hashlib.sha256(_read(made / INPUTS).removesuffix(b"\n")).hexdigest()
    return key == made.name and _recorded(made) == contents(made)


def _is_kept(made: Path, name: str, recorded: object) -> bool:
    path = made / name
    return isinstance(recorded, dict) and path.is_file() and recorded.get(name) == sha256_of(path)


def _recorded(made: Path) -> object:
    try:
        return json.loads(_read(made / CONTENTS))
    except ValueError:
        return None


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _guard(path: Path) -> int:
    while True:
        guard = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(guard, fcntl.LOCK_EX)
        if os.fstat(guard).st_nlink:
            return guard
        os.close(guard)  # a sweep was between our open and our lock, and has removed the name


def sweep(work: Path) -> None:
    """Remove workspaces whose maker is dead, known by its kernel lock, never by age."""
    for guard_path in work.glob("*.guard"):
        try:
            guard = os.open(guard_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            if (left := guard_path.with_suffix("")).exists():
                remove(left)
            guard_path.unlink(missing_ok=True)
        finally:
            os.close(guard)


def remove(path: Path) -> None:
    """Remove a tree; what a rootless bake left belongs to subordinate ids, and only their namespace may."""
    try:
        shutil.rmtree(path)
    except PermissionError:
        remove_tree(path)
