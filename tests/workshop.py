"""The command line at work in a cache of its own, which shares the bytes of the user's; and a server that has all of
pimu.lock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from builder.host.run import environment
from builder.model.lock import from_text
from builder.store import upkeep
from tests.conftest import SHIPPED
from tests.loopback import Request, Site, serving
from tests.planned import DEBIAN

KINDS = ("sha256", "layers", "accel", "guests", "golden")


@dataclass(frozen=True)
class Workshop:
    """`cache` may be damaged, but by `flip` alone: other files are the user's own."""

    folder: Path
    project: Path = SHIPPED

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def output(self, name: str = "output") -> Path:
        return self.folder / name

    def furnish(self) -> None:
        """All that the worker node-003 is made of, and nothing else that the user's cache may hold."""
        for kind in KINDS:
            shutil.copytree(
                upkeep.default_root() / kind,
                self.cache / kind,
                symlinks=True,
                copy_function=os.link,
                ignore=shutil.ignore_patterns("*.lock", "*.part", "*.resume"),
                dirs_exist_ok=True,
            )

        begun = time.time()
        status, errors = self.run(*self.build_words(), "--offline")
        assert status == 0, errors
        status, errors = self.run("cache", "prune", "--days", f"{(time.time() - begun + 1) / 86400:.9f}")
        assert status == 0, errors
        shutil.rmtree(self.output())

    def forget(self, *kinds: str) -> None:
        for kind in kinds:
            shutil.rmtree(self.cache / kind, ignore_errors=True)

    def only(self, kind: str, **wanted: object) -> Path:
        """The made thing whose inputs have these values."""
        known = {
            file.parent: json.loads(file.read_text())["inputs"] for file in (self.cache / kind).glob("*/step.json")
        }
        (found,) = (path for path, inputs in known.items() if all(inputs[key] == wanted[key] for key in wanted))
        return found

    def start(
        self, *words: str, output: str = "output", settings: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """`pimu-build WORD...`; a build's words are those of `build_words`."""
        env = environment({"PIMU_CACHE": str(self.cache), **(settings or {})})
        env["PYTHONPATH"] = str(SHIPPED)
        return subprocess.Popen(
            [sys.executable, "-m", "builder", *words],
            cwd=self.project,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str, settings: dict[str, str] | None = None) -> tuple[int, str]:
        """Exit status, and what was written to stderr."""
        process = self.start(*words, settings=settings)
        _, errors = process.communicate()
        return process.returncode, errors.decode()

    def build_words(self, *nodes: str, output: str = "output") -> tuple[str, ...]:
        asked = ("--role", "worker", "--base", DEBIAN, "--jobs", "2", "--output", str(self.output(output)))
        return (*(nodes or ("node-003",)), *asked)

    def image(self, node: str = "node-003", output: str = "output") -> object:
        """The facts of the manifest about the image's bytes."""
        return json.loads((self.output(output) / f"{node}.manifest.json").read_text())["image"]


def flip(path: Path, share: float = 0.5) -> None:
    """One bit of a file, which gets an inode of its own: the user's cache keeps its bytes."""
    copy = path.with_name(f"{path.name}.copy")
    shutil.copy2(path, copy)
    with copy.open("r+b") as file:
        offset = int(copy.stat().st_size * share)
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    copy.replace(path)


@contextmanager
def mirror() -> Iterator[Site]:
    """All that pimu.lock names, from the user's cache; a client reaches it with `http_proxy` set to its URL."""
    lock = from_text((SHIPPED / "pimu.lock").read_text(), "pimu.lock")
    debs = {deb for resolution in lock.resolutions.values() for deb in resolution.debs}
    with serving() as site:
        for deb in debs:
            site.pages[unquote(deb.url)] = _sending(upkeep.default_root() / "sha256" / deb.sha256)
        yield site


def _sending(file: Path) -> Callable[[Request], None]:
    return lambda request: request.reply(file.read_bytes())
