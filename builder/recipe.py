"""What of ourselves shapes a result: the code of a room and the versions of the tools that it runs.

A cache key that leaves out the recipe's own code serves yesterday's result for today's code.
"""

from __future__ import annotations

import functools
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.errors import MissingToolError
from builder.run import run, which

_PACKAGE = Path(__file__).parent


@functools.cache
def digest(*rooms: str) -> str:
    """sha256 over the files of rooms (`bake`, `tree.py`) of this package, names and contents."""
    total = hashlib.sha256()
    for room in rooms:
        path = _PACKAGE / room
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{file.relative_to(_PACKAGE)} {content}\n".encode())
    return total.hexdigest()


SHAPING = (
    *(("mke2fs", "-V"), ("mkfs.fat", "--help"), ("mcopy", "--version"), ("sfdisk", "--version")),
    *(("dpkg", "--version"), ("tar", "--version"), ("qemu-img", "--version")),
)
"""The programs of the build host whose bytes get into an image: all that are asked for below."""


def shaping_tools() -> dict[str, str]:
    """Versions of those that are installed: a role without a guest needs no qemu-img."""
    return versions(*(one for one in SHAPING if which(one[0])))


def versions(*asked: tuple[str, str]) -> dict[str, str]:
    """`version` of several programs with their options, asked side by side: a further node waits for little else."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip((name for name, _ in asked), pool.map(lambda one: version(*one), asked), strict=True))


@functools.cache
def version(program: str, option: str = "--version") -> str:
    """First version number that a program prints. Raises MissingToolError."""
    if which(program) is None:
        raise MissingToolError(f"{program} is not installed", hint="`pimu-build doctor` says how to install it")
    result = run([program, option], check=False)
    found = re.search(r"\d+(\.\d+)+[\w.+~-]*", (result.stdout + result.stderr).decode(errors="replace"))
    return found[0].rstrip(".") if found else "unknown"
