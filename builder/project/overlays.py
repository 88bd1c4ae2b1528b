"""Reads overlays/KIND/SET/{boot,root}/PATH and cloud-init/. Owner and mode come from overlays/manifest.yaml.

The checkout decides nothing but names and content: git keeps no owner and one bit of the mode, and a umask the rest.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, get_args

from pydantic import Field

from builder.errors import ConfigurationError
from builder.model.edits import Volume
from builder.model.overlays import OverlayFile
from builder.model.strict import Strict
from builder.profile import Document, Problem, nearest, refuse, validate

_KINDS = ("bases", "features", "guests", "installers", "roles")
_VOLUMES: tuple[Volume, ...] = get_args(Volume)
_TEMPLATE = ".j2"


class _Rule(Strict):
    """`owner` is numeric, uid:gid: names belong to the image, not to this machine."""

    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3,4}$")]
    owner: Annotated[str, Field(pattern=r"^\d{1,5}:\d{1,5}$")] = "0:0"


def read_overlays(root: Path, manifest: Document) -> dict[str, tuple[OverlayFile, ...]]:
    """By set, such as `features/swap` or `roles/worker`; each set in order of volume and path."""
    top = root / "overlays"
    for entry in sorted(top.iterdir()):
        if entry.name not in (*_KINDS, "manifest.yaml", "README.md"):
            raise _refusal(root, entry, "would not be read", nearest(entry.name, _KINDS))
    sets = [folder for kind in _KINDS for folder in _folders(root, top / kind)]
    read = {folder.relative_to(top).as_posix(): tuple(_files(root, folder)) for folder in sets}
    return _with_manifest(read, manifest)


def read_cloud_init(root: Path) -> tuple[OverlayFile, ...]:
    """The templates of cloud-init/, by name. No folders and no symlinks: a seed disk is FAT, and flat."""
    entries = sorted((root / "cloud-init").iterdir())
    return tuple(_file(root, entry, "boot", PurePosixPath("/") / entry.name) for entry in entries)


def _files(root: Path, folder: Path) -> Iterator[OverlayFile]:
    taken: dict[tuple[Volume, str], str] = {}
    for volume_folder in _folders(root, folder):
        volume = next((volume for volume in _VOLUMES if volume == volume_folder.name), None)
        if volume is None:
            raise _refusal(root, volume_folder, "is not a volume", nearest(volume_folder.name, _VOLUMES))
        for entry in _walk(volume_folder):
            file = _file(root, entry, volume, PurePosixPath("/") / entry.relative_to(volume_folder).as_posix())
            if (volume, file.path) in taken:
                raise _refusal(root, entry, f"makes the same file as {taken[volume, file.path]}")
            taken[volume, file.path] = file.origin
            yield file


def _file(root: Path, entry: Path, volume: Volume, path: PurePosixPath) -> OverlayFile:
    origin = entry.relative_to(root).as_posix()
    if not path.as_posix().isprintable():
        raise _refusal(root, entry, "has a name with an unprintable character")
    mode = entry.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = entry.readlink().as_posix()
        if volume == "boot":
            raise _refusal(root, entry, "is a symlink, which FAT cannot hold")
        if _climbs_out(path, target):
            raise _refusal(root, entry, f"points out of its volume, to {target}")
        return OverlayFile(volume=volume, path=path.as_posix(), origin=origin, symlink_target=target)
    if not stat.S_ISREG(mode):
        raise _refusal(root, entry, "is neither a file nor a symlink")
    is_template = path.suffix == _TEMPLATE
    return OverlayFile(
        volume=volume,
        path=(path.with_suffix("") if is_template else path).as_posix(),
        origin=origin,
        content=_content(root, entry, is_template),
        is_template=is_template,
    )


def _content(root: Path, entry: Path, is_template: bool) -> bytes:
    try:
        content = entry.read_bytes()
        if is_template:
            content.decode()
    except UnicodeDecodeError as error:
        raise _refusal(root, entry, "is a template, but not UTF-8 text") from error
    except OSError as error:
        raise _refusal(root, entry, f"cannot be read: {error.strerror}") from error
    return content


def _climbs_out(path: PurePosixPath, target: str) -> bool:
    """An absolute target starts at the image's root and stays there; a relative one starts beside `path`."""
    depth = 0 if target.startswith("/") else len(path.parts) - 2
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below that is no folder, in order of names; a symlink to a folder is a symlink."""
    for entry in sorted(folder.iterdir()):
        if stat.S_ISDIR(entry.lstat().st_mode):
            yield from _walk(entry)
        else:
            yield entry


def _folders(root: Path, parent: Path) -> Iterator[Path]:
    for entry in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not stat.S_ISDIR(entry.lstat().st_mode):
            raise _refusal(root, entry, "is not a folder")
        yield entry


def _with_manifest(read: dict[str, tuple[OverlayFile, ...]], manifest: Document) -> dict[str, tuple[OverlayFile, ...]]:
    """Later rules win. A rule that matches nothing is a typo, and the file it meant would have the wrong mode."""
    for glob in manifest.data:
        rule = validate(_Rule, manifest.part(glob))
        uid, gid = map(int, rule.owner.split(":"))
        matched = False
        for name, files in read.items():
            hits = [file.symlink_target is None and PurePosixPath(file.path).match(glob) for file in files]
            matched = matched or any(hits)
            read[name] = tuple(
                replace(file, mode=int(rule.mode, 8), uid=uid, gid=gid) if hit else file
                for file, hit in zip(files, hits, strict=True)
            )
        if not matched or not glob.startswith("/"):
            refuse([Problem(manifest.origins.mark(glob), f"{glob}: is the path of no file in overlays/")])
    return read


def _refusal(root: Path, entry: Path, text: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(text, where=entry.relative_to(root).as_posix(), hint=hint)
