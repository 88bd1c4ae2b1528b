"""Read overlays/KIND/SET/{boot,root}/PATH and cloud-init/. Owner and mode come from overlays/manifest.yaml.

Only names and content are taken from the checkout: git keeps no owner and only one bit of the mode, and the rest
depends on the umask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, get_args

from pydantic import Field

from builder import limits
from builder.errors import ConfigurationError
from builder.host.files import Found
from builder.model.edits import Volume
from builder.model.fat_names import fat_fault
from builder.model.overlays import OverlayFile
from builder.model.strict import Strict
from builder.profile import Document, Problem, nearest, refuse, validate
from builder.project.door import Door

_KINDS = ("bases", "features", "guests", "installers", "roles")
_VOLUMES: tuple[Volume, ...] = get_args(Volume)
_TEMPLATE, _TOP = ".j2", "overlays"


class _Rule(Strict):
    """A rule of overlays/manifest.yaml. `owner` is uid:gid in numbers, because the names of this machine may have other
    ids than the image's."""

    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3,4}$")]
    owner: Annotated[str, Field(pattern=r"^\d{1,5}:\d{1,5}$")] = "0:0"


def read_overlays(door: Door, manifest: Document) -> dict[str, tuple[OverlayFile, ...]]:
    """Files by set, such as `features/swap` or `roles/worker`. Each set is sorted by volume and path."""
    for entry in door.entries(_TOP):
        if entry.name not in (*_KINDS, "manifest.yaml", "README.md"):
            raise ConfigurationError(
                "would not be read", where=f"{_TOP}/{entry.name}", hint=nearest(entry.name, _KINDS)
            )
    sets = [folder for kind in _KINDS for folder in _folders(door, f"{_TOP}/{kind}")]
    read = {folder.removeprefix(f"{_TOP}/"): tuple(_files(door, folder)) for folder in sets}
    return _with_manifest(read, manifest)


def read_cloud_init(door: Door) -> tuple[OverlayFile, ...]:
    """The files of cloud-init/, sorted by name. Folders and symlinks are refused: a seed disk is a FAT without
    folders."""
    found = [(PurePosixPath("/", entry.name), entry) for entry in door.entries("cloud-init")]
    return _distinct(_file(door, f"cloud-init/{entry.name}", entry, "boot", path) for path, entry in found)


def _files(door: Door, folder: str) -> Iterator[OverlayFile]:
    for volume_folder in _folders(door, folder):
        name = volume_folder.rpartition("/")[2]
        volume = next((volume for volume in _VOLUMES if volume == name), None)
        if volume is None:
            raise ConfigurationError("is not a volume", where=volume_folder, hint=nearest(name, _VOLUMES))
        walked = _walk(door, volume_folder, PurePosixPath("/"))
        yield from _distinct(_file(door, origin, entry, volume, path) for origin, path, entry in walked)


def _distinct(files: Iterable[OverlayFile]) -> tuple[OverlayFile, ...]:
    """The files of one volume. Raises ConfigurationError for two files with one name. On FAT the case of letters does
    not count."""
    taken: dict[str, OverlayFile] = {}
    for file in files:
        other = taken.setdefault(file.path.casefold() if file.volume == "boot" else file.path, file)
        if other is not file:
            case = "" if other.path == file.path else ": FAT has one name for both"
            raise ConfigurationError(f"makes the same file as {other.origin}{case}", where=file.origin)
    return tuple(taken.values())


def _file(door: Door, origin: str, entry: Found, volume: Volume, path: PurePosixPath) -> OverlayFile:
    if not path.as_posix().isprintable():
        raise ConfigurationError("has a name with an unprintable character", where=origin)
    if entry.target is not None:
        if volume == "boot":
            raise ConfigurationError("is a symlink, which FAT cannot hold", where=origin)
        if _climbs_out(path, entry.target):
            raise ConfigurationError(f"points out of its volume, to {entry.target}", where=origin)
        return OverlayFile(volume=volume, path=path.as_posix(), origin=origin, symlink_target=entry.target)
    if not entry.is_file:
        raise ConfigurationError("is neither a file nor a symlink", where=origin)
    is_template = path.suffix == _TEMPLATE
    path = path.with_suffix("") if is_template else path
    if volume == "boot" and (fault := fat_fault(path.as_posix())):
        raise ConfigurationError(fault, where=origin)
    content = door.read(origin, limits.OVERLAY)
    _check_content(content, origin, is_template)
    return OverlayFile(volume=volume, path=path.as_posix(), origin=origin, content=content, is_template=is_template)


def _check_content(content: bytes, origin: str, is_template: bool) -> None:
    """Refuse a script with the line ends of Windows: the kernel would look for an interpreter with a CR in its name."""
    if content.startswith(b"#!") and b"\r\n" in content and not is_template:
        hint = "a git for Windows may have made them: git config core.autocrlf false, then check the file out again"
        raise ConfigurationError("is a script, and has CR LF line ends", where=origin, hint=hint)
    try:
        if is_template:
            content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError("is a template, but not UTF-8 text", where=origin) from error


def _climbs_out(path: PurePosixPath, target: str) -> bool:
    """Whether a symlink's target leads out of its volume. A relative target starts in the folder of `path`."""
    depth = 0 if target.startswith("/") else len(path.parts) - 2
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def _walk(door: Door, folder: str, path: PurePosixPath) -> Iterator[tuple[str, PurePosixPath, Found]]:
    """All files and symlinks below `folder`, sorted by name: path in the project, path on the volume, and entry. A
    symlink to a folder is not followed."""
    for entry in door.entries(folder):
        if entry.is_folder:
            yield from _walk(door, f"{folder}/{entry.name}", path / entry.name)
        else:
            yield f"{folder}/{entry.name}", path / entry.name, entry


def _folders(door: Door, parent: str) -> Iterator[str]:
    for entry in door.entries(parent):
        if not entry.is_folder:
            raise ConfigurationError("is not a folder", where=f"{parent}/{entry.name}")
        yield f"{parent}/{entry.name}"


def _with_manifest(read: dict[str, tuple[OverlayFile, ...]], manifest: Document) -> dict[str, tuple[OverlayFile, ...]]:
    """The files with their owners and modes. Later rules win. Raises ConfigurationError for a rule that matches no
    file: it has a typo, and the intended file would get the wrong mode."""
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
