"""Compare two bakes of one layer, and name each file that differs. A file differs if a script uses the clock, random
numbers or facts of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.errors import BuildError
from builder.fetch.cache import sha256_of
from builder.fs.tree import Entry, Tree
from builder.model.layer import BOOT_TAR, ROOT_TAR

_MOST = 50
_INFO = "var/lib/dpkg/info/"


def require_same(one: Path, other: Path, epoch: int, label: str) -> None:
    """Raises BuildError unless the tars in two directories are the same. The error names each file that differs, with
    its package if one lists it."""
    found = [line for tar in (ROOT_TAR, BOOT_TAR) for line in _differences(one / tar, other / tar, epoch)]
    if found:
        more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
        raise BuildError(
            f"{len(found)} files are not the same in two bakes:\n    " + "\n    ".join([*found[:_MOST], *more]),
            where=label,
            hint="leave out the package, or say identities: {PATH: remove} where no two nodes may share the file",
        )


def _differences(one: Path, other: Path, epoch: int) -> Iterator[str]:
    if one.exists() != other.exists():
        yield f"{one.name}: only one of the bakes made it"
        return
    if not one.exists() or sha256_of(one) == sha256_of(other):
        return
    a, b = (Tree.of_layers([tar], epoch) for tar in (one, other))
    owners = _owners(a) | _owners(b)
    told = False
    for path in sorted({*a.entries, *b.entries}):
        what = _difference(a.entries.get(path), b.entries.get(path))
        if what:
            package = f" (package {owners[path]})" if path in owners else ""
            yield f"/{path}: {what}{package}"
            told = True
    if not told:
        yield f"{one.name}: files that are removed, links or attributes"


def _difference(a: Entry | None, b: Entry | None) -> str:
    if a is None or b is None:
        return "is in one of them only"
    if a.kind != b.kind:
        return "kind"
    named = {
        "mode": (a.mode, b.mode),
        "owner": ((a.uid, a.gid), (b.uid, b.gid)),
        "target": (a.target, b.target),
        "size": (a.size, b.size),
        "time": (a.mtime, b.mtime),
    }
    found = [name for name, (left, right) in named.items() if left != right]
    if a.kind == "file" and a.size == b.size and a.sha256() != b.sha256():
        found.append("content")
    return ", ".join(found)


def _owners(tree: Tree) -> dict[str, str]:
    """Package by path, for the packages of this layer."""
    lists = [path for path in tree.entries if path.startswith(_INFO) and path.endswith(".list")]
    return {
        line.strip("/"): path.removeprefix(_INFO).removesuffix(".list").partition(":")[0]
        for path in lists
        for line in tree.entries[path].read().decode(errors="replace").splitlines()
    }
