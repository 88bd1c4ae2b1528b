"""A filesystem as a value: layers merged, edits applied, in memory. Contents stay where they are until they are asked
for, so that a system of 2 GB is a table of some 30 000 entries.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from builder import limits
from builder.errors import BuildError, ConfigurationError
from builder.fs.tar_reader import Slice, is_whiteout, members, whiteouts
from builder.model.edits import Edit, MakeDir, PatchText, PlaceBlob, Remove, SetMode, Symlink, WriteFile, WriteSecret
from builder.model.patches import Resolve, refuse_secrets

Kind = Literal["file", "dir", "link"]
Open = Callable[[], BinaryIO]

_XATTRS = ("SCHILY.xattr.security.capability",)
"""The extended attributes that mke2fs -d takes over."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """`mode` without the type; `size` and `content` for files, `target` for links. Two names of one Entry are hard
    links. `xattrs` as in a PAX header (SCHILY.xattr.NAME)."""

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""
    content: Open = io.BytesIO
    xattrs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_bytes(cls, content: bytes, mtime: int, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
        return cls("file", mode, uid, gid, mtime, len(content), content=lambda: io.BytesIO(content))

    def read(self) -> bytes:
        with self.content() as file:
            return file.read()

    def sha256(self) -> str:
        total = hashlib.sha256()
        with self.content() as file:
            while block := file.read(1 << 20):
                total.update(block)
        return total.hexdigest()


class Tree:
    """Entries by path without the leading slash; the root itself is the empty path."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.entries: dict[str, Entry] = {"": Entry("dir", 0o755, mtime=epoch)}

    @classmethod
    def of_layers(cls, layers: Iterable[Path], epoch: int) -> Tree:
        """Layer tars, the lowest first; whiteouts remove (OCI image-layer specification). Raises BuildError."""
        tree = cls(epoch)
        for layer in layers:
            found = list(members(layer))
            tree._remove(*whiteouts(found, layer))
            tree._add(layer, [(path, member) for path, member in found if not is_whiteout(path)])
        return tree

    @classmethod
    def of_volume(cls, archive: Path, epoch: int, skip: Callable[[str], bool] = lambda _: False) -> Tree:
        """A tar of a whole filesystem, without the paths for which `skip` is true. In the next layer's eyes, a file
        whose name begins as a whiteout's would be one. Raises BuildError."""
        tree, found = cls(epoch), list(members(archive, skip))
        for path, _ in found:
            if is_whiteout(path):
                raise BuildError(f"{path!r} is not a name for a file of the Pi", where=str(archive))
        tree._add(archive, found)
        for path in tree.entries:
            if posixpath.dirname(path) not in tree.entries:
                raise BuildError(f"{path} is in no directory", where=str(archive))
        return tree

    def _add(self, layer: Path, found: Sequence[tuple[str, tarfile.TarInfo]]) -> None:
        replaced = {path for path, member in found if not member.isdir() and self._is_dir(path)}
        self._remove(replaced, set())
        for path, member in found:
            if member.islnk():
                twin = self.entries.get(member.linkname)
                if twin is None or twin.kind == "dir":
                    raise BuildError(f"{path} is a hard link to {member.linkname}, no file before it", where=str(layer))
                self.entries[path] = twin
            else:
                self.entries[path] = _entry(layer, member)
        for path, _ in found:
            # A layer need not name the directories that are below it; none of its names may be below a file or a link.
            above = next(parent for parent in _parents(path) if parent in self.entries) if path else ""
            if not self._is_dir(above):
                raise BuildError(f"{path} is in /{above}, which is no directory", where=str(layer))

    def _is_dir(self, path: str) -> bool:
        entry = self.entries.get(path)
        return entry is not None and entry.kind == "dir"

    def _remove(self, gone: Set[str], emptied: Set[str]) -> None:
        """The paths that are `gone`, and all that is below these or in those that are `emptied`."""
        if not gone and not emptied:
            return
        roots = gone | emptied
        self.entries = {
            path: entry
            for path, entry in self.entries.items()
            if path not in gone and not any(parent in roots for parent in _parents(path))
        }

    def get(self, path: str) -> Entry | None:
        """The entry at `path`, its parents resolved through this tree's own links, never out of it."""
        return self.entries.get(self.resolve(path))

    def resolve(self, path: str) -> str:
        """`path` with all links in its parents followed; the last component is not followed."""
        pending = [part for part in path.split("/") if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            here = self.entries.get("/".join([*done, part]))
            if pending and here is not None and here.kind == "link":
                links += 1
                if links > limits.SYMLINKS:
                    raise BuildError("too many levels of symbolic links", where=path)
                pending = [step for step in here.target.split("/") if step not in ("", ".")] + pending
                done = [] if here.target.startswith("/") else done
            else:
                done.append(part)
        return "/".join(done)

    def apply(self, edit: Edit, blobs: Mapping[str, Path], secrets: Resolve = refuse_secrets) -> str:
        """Do one edit; the resolved path that it changed.

        Raises ConfigurationError, at the edit's origin, when the tree has nothing to patch or a directory in the way.
        """
        path = self.resolve(edit.path)
        if edit.volume == "boot" and (twin := self._twin_on_fat(path)):
            raise _impossible(edit, f"FAT has one name for it and for /{twin}, which is there")
        old = self.entries.get(path)
        if isinstance(edit, Remove):
            if old is not None and old.kind == "dir":
                raise _impossible(edit, "is a directory")
            self.entries.pop(path, None)
            return path
        if old is not None and (old.kind == "dir") != isinstance(edit, MakeDir) and not isinstance(edit, SetMode):
            raise _impossible(edit, "is a directory" if old.kind == "dir" else "is not a directory")
        edited = self._edited(edit, old, blobs, secrets)
        self._make_parents(edit, path)
        self.entries[path] = edited
        return path

    def _twin_on_fat(self, path: str) -> str:
        """The entry whose name, or a folder of it, differs from `path` in the case of letters alone; else nothing."""
        names = [*_parents(path), path]
        folded = {name.casefold() for name in names if name}
        return next((name for name in self.entries if name.casefold() in folded and name not in names), "")

    def _edited(self, edit: Edit, old: Entry | None, blobs: Mapping[str, Path], secrets: Resolve) -> Entry:
        match edit:
            case WriteFile() | WriteSecret():
                content = edit.content if isinstance(edit, WriteFile) else f"{secrets(edit.secret)}\n".encode()
                return Entry.of_bytes(content, self.epoch, edit.mode, edit.uid, edit.gid)
            case PlaceBlob():
                blob = blobs[edit.blob]
                size = blob.stat().st_size
                return Entry("file", edit.mode, edit.uid, edit.gid, self.epoch, size, content=lambda: blob.open("rb"))
            case MakeDir():
                return Entry("dir", edit.mode, edit.uid, edit.gid, self.epoch)
            case Symlink():
                return Entry("link", 0o777, mtime=self.epoch, target=edit.target)
            case SetMode() if old is not None:
                return replace(old, mode=edit.mode, uid=edit.uid, gid=edit.gid)
            case PatchText() if old is not None and old.kind == "file":
                text = _patched(edit, old, secrets)
                content = text.encode("utf-8", "surrogateescape")
                return Entry.of_bytes(content, self.epoch, old.mode, old.uid, old.gid)
        raise _impossible(edit, "the base has no such file")

    def _make_parents(self, edit: Edit, path: str) -> None:
        for parent in itertools.accumulate(path.split("/")[:-1], posixpath.join):
            entry = self.entries.setdefault(parent, Entry("dir", 0o755, mtime=self.epoch))
            if entry.kind != "dir":
                raise _impossible(edit, f"/{parent} is not a directory")

    def missing_parents(self, path: str) -> list[str]:
        """Directories, the outermost first, that must be made before `path` can be."""
        parents = [str(parent) for parent in reversed(Path(self.resolve(path)).parents) if str(parent) != "."]
        return [parent for parent in parents if parent not in self.entries]

    def files(self) -> Iterator[tuple[str, Entry]]:
        return ((path, entry) for path, entry in self.sorted() if entry.kind == "file")

    def sorted(self) -> list[tuple[str, Entry]]:
        """Parents before children, bytewise; without the root."""
        named = (item for item in self.entries.items() if item[0])
        return sorted(named, key=lambda item: item[0].encode("utf-8", "surrogateescape").split(b"/"))

    def index(self) -> list[list[object]]:
        """All but the contents, as JSON has it."""
        return [
            [path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.target]
            for path, entry in self.sorted()
        ]

    @classmethod
    def of_index(cls, index: Iterable[Sequence[Any]], epoch: int, read: Callable[[str], bytes]) -> Tree:
        """A tree whose contents `read` fetches by path when an edit asks for them."""
        tree = cls(epoch)
        for path, kind, mode, uid, gid, size, target in index:
            content = functools.partial(lambda name: io.BytesIO(read(name)), path)
            tree.entries[path] = Entry(kind, mode, uid, gid, epoch, size, target, content)
        return tree

    def write_tar(self, out: Path) -> None:
        """The whole tree as one tar, for mke2fs -d."""
        first: dict[int, str] = {}
        with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
            for path, entry in self.sorted():
                info = _header(path, entry)
                if entry.kind == "file" and (twin := first.setdefault(id(entry), path)) != path:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, twin, 0
                if info.isreg():
                    with entry.content() as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info)


def _patched(edit: PatchText, old: Entry, secrets: Resolve) -> str:
    try:
        return edit.patch.apply(old.read().decode("utf-8", "surrogateescape"), secrets)
    except ConfigurationError as error:
        raise error if error.where else _impossible(edit, error.message) from error


def _impossible(edit: Edit, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot {edit.describe()}: {reason}", where=edit.origin, hint=f"asked for by the feature {edit.feature}"
    )


def _parents(path: str) -> Iterator[str]:
    """All directories above a path, the root at last."""
    while path:
        path = posixpath.dirname(path)
        yield path


def _entry(layer: Path, member: tarfile.TarInfo) -> Entry:
    start, size = member.offset_data, member.size if member.isreg() else 0
    return Entry(
        "dir" if member.isdir() else "link" if member.issym() else "file",
        stat.S_IMODE(member.mode),
        member.uid,
        member.gid,
        int(member.mtime),
        size=size,
        target=member.linkname if member.issym() else "",
        content=lambda: io.BufferedReader(Slice(layer, start, size), 1 << 20),
        xattrs={name: value for name, value in member.pax_headers.items() if name in _XATTRS},
    )


def _header(path: str, entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
    match entry.kind:
        case "dir":
            info.type = tarfile.DIRTYPE
        case "link":
            info.type, info.linkname = tarfile.SYMTYPE, entry.target
        case "file":
            info.size, info.pax_headers = entry.size, dict(entry.xattrs)
    return info
