"""Builds on disks that are too small, in a mount namespace of their own. `run_on_small_disks` is the half outside;
`python -m tests.small_disk HALF ...` the one inside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.host.run import environment, run
from tests.conftest import SHIPPED
from tests.planned import DEBIAN

FILLING = """
import os, pathlib, sys
from builder.cli import main
from builder.fs import chunks

moment, ballast, *words = sys.argv[1:]

def fill():
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                pass

def after(function):
    def instead(*given, **named):
        result = function(*given, **named)
        fill()
        return result
    return instead

def before(function, applies=lambda *given: True):
    def instead(*given, **named):
        if applies(*given):
            fill()
        return function(*given, **named)
    return instead

match moment:
    case "copy":
        os.truncate = after(os.truncate)
    case "changed blocks":
        chunks.apply = before(chunks.apply)
    case name:
        pathlib.Path.write_text = before(pathlib.Path.write_text, lambda path, *_: path.name.endswith(name))
sys.exit(main(words))
"""
"""The command line, on a disk that gets full at a certain moment."""


@dataclass(frozen=True)
class Outcome:
    """`step`: the room of the pipeline that was at work last; `error`: all from the word error on; `left`: names."""

    when: str
    status: int
    step: str
    error: str
    left: list[str]


def run_on_small_disks(half: str, *words: str | Path) -> list[Outcome]:
    env = {"PYTHONPATH": str(SHIPPED), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.small_disk", half, *words]
    return [Outcome(**one) for one in json.loads(run(argv, env=env, cwd=SHIPPED).text)]


def growing_cache(room: str, lower: str, start: str, step: str, most: str, *words: str) -> list[Outcome]:
    """`lower`, read only, and a disk over it which takes what is written. As long as the command says that it is full,
    it gets `step` MiB more."""
    small, cache = Path(room, "small"), Path(room, "cache")
    for folder in (small, cache):
        folder.mkdir()
    size, outcomes = int(start), []
    run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", small])
    for folder in (small / "upper", small / "work"):
        folder.mkdir()
    layers = f"lowerdir={lower},upperdir={small}/upper,workdir={small}/work"
    # metacopy: a time of last use must not copy a whole file up.
    run(["mount", "-t", "overlay", "overlay", "-o", f"{layers},metacopy=on", cache])
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words],
            cwd=SHIPPED,
            env=environment({"PIMU_CACHE": str(cache)}),
            capture_output=True,
            check=False,
        )
        left = [path.name for path in (cache / "work").glob("*")]
        outcomes.append(_outcome(f"{size} MiB", done, left))
        if done.returncode != 3 or size >= int(most):
            return outcomes
        size += int(step)
        run(["mount", "-o", f"remount,size={size}m", small])


def output(folder: str, cache: str, megabytes: str, *moments: str) -> list[Outcome]:
    """An output folder with an old image on a disk which gets full at each of these moments, and then not."""
    place = Path(folder)
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place])
    image, ballast = place / "node-003.img", place / "ballast"
    outcomes = []
    words = ["node-003", "--role", "worker", "--base", DEBIAN, "--offline", "--sha256", "--output", folder]
    for moment in (*moments, "never"):
        for path in (place / "node-003.manifest.json", place / "node-003.img.sha256"):
            path.unlink(missing_ok=True)
        image.write_text("an older image")
        done = subprocess.run(
            [sys.executable, "-c", FILLING, moment, ballast, *words],
            cwd=SHIPPED,
            env=environment({"PIMU_CACHE": cache}),
            capture_output=True,
            check=False,
        )
        is_old = image.stat().st_size < 100 and image.read_text() == "an older image"
        left = [path.name for path in place.iterdir() if path not in (image, ballast) and not path.match("*.lock")]
        outcomes.append(_outcome(moment, done, sorted([*left, "the old image"] if is_old else left)))
        ballast.unlink(missing_ok=True)
    return outcomes


def _outcome(when: str, done: subprocess.CompletedProcess[bytes], left: Sequence[str]) -> Outcome:
    said, _, error = done.stderr.decode(errors="replace").partition("error: ")
    steps = [line.split()[0] for line in said.splitlines() if line.strip()]
    return Outcome(when, done.returncode, steps[-1] if steps else "", error, list(left))


if __name__ == "__main__":
    _, half, *given = sys.argv
    sys.stdout.write(json.dumps([asdict(one) for one in globals()[half](*given)]))
    os.sync()
