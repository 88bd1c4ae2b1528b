"""Take the host programs out of their packages, inside the sandbox. `python -m builder.bake.accel_tree DEBS OUT ROOM`:
DEBS is a JSON file of [package, file] pairs, OUT gets the tar.

The tar has two trees: the programs, and the libraries of all packages that these programs need.
"""

from __future__ import annotations

import json
import os
import platform
import posixpath
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.bake.accel import LIBRARIES, PROGRAMS, SOME, TAR, WHOLE
from builder.bake.mounts import workroom
from builder.host.run import run

TOOLS = ("dpkg-deb", "tar")

_ANSWERS_FOR_ITS_MACHINE = {"arch", "nproc", "uname"}
_LIBRARIES = ("usr/lib/*-linux-gnu", "usr/lib64", "usr/lib/python3.*/lib-dynload")


def main(debs: Path, out: Path, room: Path) -> None:
    os.umask(0o022)
    packages = [(name, Path(deb)) for name, deb in json.loads(debs.read_text())]
    work = workroom(room, 10 * sum(deb.stat().st_size for _, deb in packages) + (64 << 20))
    make_trees(packages, work)
    owner = ("--owner=0", "--group=0", "--numeric-owner")
    run(["tar", "-c", "--sort=name", *owner, "-f", out, "-C", work, PROGRAMS, LIBRARIES])


def extract(accel: Path, folder: Path) -> list[Path]:
    """Extract the two trees of a product into `folder`, and return their paths: programs, libraries."""
    run(["tar", "-x", "-p", "--numeric-owner", "-f", accel / TAR, "-C", folder])
    return [folder / PROGRAMS, folder / LIBRARIES]


def make_trees(packages: Sequence[tuple[str, Path]], fresh: Path) -> None:
    programs, libraries, whole = fresh / PROGRAMS, fresh / LIBRARIES, fresh / "whole"
    for folder in (programs, libraries / "usr/lib"):
        folder.mkdir(parents=True)
    for name, deb in packages:
        run(["dpkg-deb", "-x", deb, whole])
        _merge_usr(whole)
        for pattern in _LIBRARIES:
            for folder in whole.glob(pattern):
                target = libraries / folder.relative_to(whole)
                shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
        for library in whole.glob("usr/lib/systemd/libsystemd-shared-*.so"):  # systemd before Debian 12
            target = libraries / f"usr/lib/{platform.machine()}-linux-gnu"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)
        for loader in whole.glob("usr/lib/ld-linux-*"):
            shutil.copy2(loader, libraries / "usr/lib", follow_symlinks=False)
        _copy_programs(name, whole, programs)
        shutil.rmtree(whole)
    (libraries / "lib64").symlink_to("usr/lib64")
    for folder in (path for path in fresh.rglob("*") if path.is_dir() and not path.is_symlink()):
        folder.chmod(0o755)  # an overlay shows the mode of its topmost folder


def _merge_usr(whole: Path) -> None:
    """Copy /bin, /sbin and /lib into /usr. Packages before Debian 13 have programs and libraries there."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if (whole / name).is_dir() and not (whole / name).is_symlink():
            shutil.copytree(whole / name, whole / "usr" / name, symlinks=True, dirs_exist_ok=True)


def set_aside(source: Path, tree: Path, whose: str) -> None:
    """Copy dpkg and dpkg-query of `source` to the places where the scripts of stage/foreign look for them."""
    target = tree / "usr/libexec" / f"pimu-{whose}"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("dpkg", "dpkg-query"):
        program = source / "usr/bin" / name
        if program.exists() and not (target / name).exists():
            shutil.copy2(program, target)


def _copy_programs(name: str, whole: Path, tree: Path) -> None:
    """Copy a package's programs into `tree`. A link that SOME names, such as depmod's to /bin/kmod, becomes a file."""
    if name in SOME:
        programs = [whole / name for name in SOME[name]]
    elif name in WHOLE or name.startswith("python3"):
        programs = [path for folder in ("usr/bin", "usr/sbin") for path in sorted((whole / folder).glob("*"))]
    else:
        return
    for program in programs:
        if program.name not in _ANSWERS_FOR_ITS_MACHINE:
            target = tree / program.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_resolved(program, whole) if name in SOME else program, target, follow_symlinks=False)
    if name == "dpkg":
        set_aside(whole, tree, "host")


def _resolved(path: Path, whole: Path) -> Path:
    """The target of a chain of links, with `whole` as the root: the host's own /bin/kmod is another file."""
    while path.is_symlink():
        path = whole / posixpath.normpath(path.relative_to(whole).parent / path.readlink()).lstrip("/")
    return path


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
