"""Stand-ins: host programs and stubs on top of a tree while its packages are configured, and the removal of their
traces.

A maintainer script may change the mode of a program, move it aside (dpkg-divert(1)) or copy it. If it did so with a
stand-in, the layer gets the tree's own program instead, as on a Pi.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.bake.accel import PROGRAMS
from builder.bake.accel_tree import set_aside
from builder.bake.elf import machine_of
from builder.errors import BuildError

STAGE = Path(__file__).with_name("stage")
_PROGRAM_FOLDERS = (Path("usr/bin"), Path("usr/sbin"), Path("usr/lib/dracut"))
_REMEDY = "leave out the package that was added last, and report which one it was"


def make_stand_ins(work: Path, layers: Sequence[Path], *, foreign: bool) -> Path:
    """A tree in `work` with the stand-ins for `layers` (topmost first). With `foreign` it has host programs too.

    A program gets a stand-in only if the tree has it: maintainer scripts would find an additional program, and act in
    another way than on the Pi. The stand-in has the mode and owner of the tree's program, because a script may read
    them.
    """
    top = work / "stand-ins"
    host_programs = [STAGE / "foreign", work / PROGRAMS] if foreign else []
    for tree in [STAGE / "all", *host_programs]:
        for source in tree.rglob("*"):
            name = source.relative_to(tree)
            target = top / name
            if source.is_dir() and not source.is_symlink():
                target.mkdir(parents=True, exist_ok=True)
            elif _stands_in(name, layers) and not os.path.lexists(target):
                shutil.copy2(source, target, follow_symlinks=False)
                _look_like(_real(name, layers), target)
    for layer in layers if foreign else []:
        set_aside(layer, top, "tree")
    return top


def _stands_in(name: Path, layers: Sequence[Path]) -> bool:
    is_program = name.parent in _PROGRAM_FOLDERS and name.name != "policy-rc.d"
    return not is_program or any(os.path.lexists(layer / name) for layer in layers)


def _real(name: Path, layers: Sequence[Path]) -> Path | None:
    """The tree's own file of this name, or None when it is not a regular file."""
    there = next((layer / name for layer in layers if os.path.lexists(layer / name)), None)
    return there if there is not None and _is_regular(there) else None


def _is_regular(path: Path) -> bool:
    return os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode)


def _look_like(real: Path | None, target: Path) -> None:
    if real is not None and _is_regular(target) and real.lstat().st_mode & 0o111:
        facts = real.lstat()
        os.chown(target, facts.st_uid, facts.st_gid)
        target.chmod(stat.S_IMODE(facts.st_mode))


@dataclass(frozen=True, slots=True)
class _Twin:
    """A stand-in, and the tree's own program below it (None: no regular file)."""

    name: str
    real: Path | None


class Twins:
    """Finds the scripts' copies of programs in `top`, and replaces them by the files of `layers` (topmost first)."""

    def __init__(self, top: Path, layers: Sequence[Path]) -> None:
        self._top, self._layers = top, layers
        self._by_size: dict[int, list[Path]] = {}
        for path in sorted(top.rglob("*")):
            if _is_regular(path) and path.stat().st_size and not path.is_relative_to(top / "usr/libexec/pimu-tree"):
                self._by_size.setdefault(path.stat().st_size, []).append(path)
        self._digests: dict[Path, bytes] = {}

    def put_right(self, upper: Path, *, programs_only: bool = False) -> None:
        """Replace the content of each file in `upper` that is a copy of a stand-in by the tree's own program.

        Mode, owner and capabilities stay as the script has set them. With `programs_only` scripts are not replaced:
        while packages are unpacked, a package's script may equal the host's.

        Raises BuildError for a copy of a program that is no regular file in the tree, and for an edited stub.
        """
        for path in list(_files(upper)):
            twin = self._twin_of(path, upper)
            name = path.relative_to(upper)
            if twin is None:
                if not programs_only and _is_regular(self._top / name) and _is_stub(name):
                    raise BuildError("was rewritten while a stand-in of ours lay there", where=str(name), hint=_REMEDY)
            elif programs_only and machine_of(_head(path)) is None:
                continue
            elif twin.real is None:
                said = f"is a copy of the build host's {twin.name}, made by a maintainer script"
                raise BuildError(said, where=str(name), hint=_REMEDY)
            else:
                _replace_content(path, twin.real)

    def _twin_of(self, path: Path, upper: Path) -> _Twin | None:
        """The stand-in with the same content, or None. A stand-in of the same name is preferred, because several may
        have the same content."""
        candidates = self._by_size.get(path.stat().st_size, [])
        if not candidates:
            return None
        here = self._top / path.relative_to(upper)
        digest = _digest(path)
        for stand_in in sorted(candidates, key=lambda one: one != here):
            if self._digest_of(stand_in) == digest:
                name = stand_in.relative_to(self._top)
                real = _real(name, self._layers)
                if real is not None and real.stat().st_size == path.stat().st_size and _digest(real) == digest:
                    return None
                return _Twin(str(name), real)
        return None

    def _digest_of(self, stand_in: Path) -> bytes:
        if stand_in not in self._digests:
            self._digests[stand_in] = _digest(stand_in)
        return self._digests[stand_in]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if _is_regular(path))


def _is_stub(name: Path) -> bool:
    return any((STAGE / kind / name).exists() for kind in ("all", "foreign"))


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(20)


def _replace_content(path: Path, real: Path) -> None:
    """Write the content in place, so that hard links stay. Writing clears set-id bits and capabilities, so these are
    set again."""
    before = path.lstat()
    capability = "security.capability"
    kept = os.getxattr(path, capability) if capability in os.listxattr(path) else None
    shutil.copyfile(real, path)
    if kept is not None:
        os.setxattr(path, capability, kept)
    path.chmod(stat.S_IMODE(before.st_mode))
    facts = real.lstat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
