"""Put the edits of all features into the order in which they are applied, and refuse edits that contradict each
other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeAlias

from builder.errors import ConfigurationError
from builder.model import image_path
from builder.model.edits import Edit, MakeDir, PatchText, SetMode, Symlink
from builder.model.fat_names import fat_fault
from builder.model.settings import Base

Place: TypeAlias = tuple[str, str]


def in_order(edits: Iterable[Edit], base: Base) -> tuple[Edit, ...]:
    """The edits, sorted: golden before node, then by volume and path, then in the order of the features.

    One edit may make a path, and others may patch it. A second edit that makes the same is dropped. Raises
    ConfigurationError for two different edits of one path, for a path that no Pi can have, for a path below the mount
    point of the boot volume, and for a path below a file.
    """
    placed: dict[Place, Edit] = {}
    kept = []
    for edit in sorted(edits, key=lambda edit: (edit.scope != "golden", *_place(edit.volume, edit.path))):
        _check_path(edit, base)
        first = placed.setdefault(_place(edit.volume, edit.path), edit)
        if first.path != edit.path:
            raise ConfigurationError(
                f"{edit.volume}:{edit.path} is wanted in two ways: FAT has one name for it and {first.path}",
                where=edit.origin,
                hint=_both(first, edit),
            )
        if first is edit or isinstance(edit, PatchText | SetMode):
            kept.append(edit)
        elif replace(edit, feature=first.feature, origin=first.origin) != first:
            raise ConfigurationError(
                f"{edit.volume}:{edit.path} is wanted in two ways", where=edit.origin, hint=_both(first, edit)
            )
    for edit in kept:
        _check_parents(edit, placed)
    return tuple(kept)


def refuse_lost(base_edits: Iterable[Edit], edits: Iterable[Edit]) -> None:
    """Raises ConfigurationError when an edit would replace a whole file of the base's overlay: the file would be lost
    silently. A patch of such a file is allowed."""
    placed = {_place(edit.volume, edit.path): edit for edit in base_edits}
    for edit in edits:
        first = placed.get(_place(edit.volume, edit.path))
        if first is None or isinstance(edit, PatchText | SetMode):
            continue
        if replace(edit, feature=first.feature, origin=first.origin, scope=first.scope) != first:
            raise ConfigurationError(
                f"{edit.volume}:{edit.path} is wanted in two ways", where=first.origin, hint=_both(first, edit)
            )


def _place(volume: str, path: str) -> Place:
    """Volume and path, as a key. The case of letters does not count on FAT."""
    return volume, path.casefold() if volume == "boot" else path


def _both(first: Edit, second: Edit) -> str:
    """Both edits, each with its feature and origin."""
    return "\n  ".join(f"{edit.feature} ({edit.origin}): {edit.describe()}" for edit in (first, second))


def _check_path(edit: Edit, base: Base) -> None:
    if fault := image_path.fault(edit.path) or _fault_on_volume(edit, base):
        raise ConfigurationError(f"{edit.volume}:{edit.path} {fault}", where=edit.origin)


def _fault_on_volume(edit: Edit, base: Base) -> str:
    if edit.volume == "boot":
        return "is a symlink, which FAT cannot hold" if isinstance(edit, Symlink) else fat_fault(edit.path)
    if PurePosixPath(edit.path).is_relative_to(base.boot.mount):
        return f"would be hidden: the boot volume is mounted on {base.boot.mount}"
    return ""


def _check_parents(edit: Edit, placed: Mapping[Place, Edit]) -> None:
    for parent in PurePosixPath(edit.path).parents:
        above = placed.get(_place(edit.volume, str(parent)))
        if above is not None and not isinstance(above, MakeDir | SetMode):
            raise ConfigurationError(
                f"{edit.volume}:{edit.path} is below {parent}, which is no directory",
                where=edit.origin,
                hint=_both(above, edit),
            )
