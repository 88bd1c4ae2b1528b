"""The edits of all features in the order of their application, or the reason why they cannot be applied together."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeAlias

from builder.errors import ConfigurationError
from builder.model.edits import Edit, MakeDir, PatchText, SetMode, Symlink
from builder.model.settings import Base

Place: TypeAlias = tuple[str, str]

_NOT_ON_FAT = frozenset('"*:<>?\\|')


def in_order(edits: Iterable[Edit], base: Base) -> tuple[Edit, ...]:
    """Golden before node, then by volume and path, then as the features asked.

    A path may be made once and then be patched; a wish for what is there already is dropped. ConfigurationError for
    two different wishes, for a path that no Pi could have, and for what would be hidden or have a file for a parent.
    """
    placed: dict[Place, Edit] = {}
    kept = []
    for edit in sorted(edits, key=lambda edit: (edit.scope != "golden", edit.volume, edit.path)):
        _check_path(edit, base)
        first = placed.setdefault(_place(edit.volume, edit.path), edit)
        if first is edit or isinstance(edit, PatchText | SetMode):
            kept.append(edit)
        elif replace(edit, feature=first.feature, origin=first.origin) != first:
            raise ConfigurationError(
                f"{edit.volume}:{edit.path} is wanted in two ways", where=edit.origin, hint=_both(first, edit)
            )
    for edit in kept:
        _check_parents(edit, placed)
    return tuple(kept)


def _place(volume: str, path: str) -> Place:
    """FAT finds a file whatever the case of the letters."""
    return volume, path.casefold() if volume == "boot" else path


def _both(first: Edit, second: Edit) -> str:
    """Both wishes, with who asked."""
    return "\n  ".join(f"{edit.feature} ({edit.origin}): {edit.describe()}" for edit in (first, second))


def _check_path(edit: Edit, base: Base) -> None:
    path, parts, reason = edit.path, edit.path.split("/"), ""
    if not path.startswith("/") or path.startswith("//") or path == "/" or posixpath.normpath(path) != path:
        reason = "is not an absolute, normalised path"
    elif not path.isprintable():
        reason = "holds characters that cannot be printed"
    elif any(len(part.encode()) > 255 for part in parts):
        reason = "has a part of more than 255 bytes"
    elif edit.volume == "boot" and isinstance(edit, Symlink):
        reason = "is a symlink, which FAT cannot hold"
    elif edit.volume == "boot" and (_NOT_ON_FAT & set(path) or any(part.endswith((".", " ")) for part in parts)):
        reason = "has a name that FAT cannot hold"
    elif edit.volume == "root" and PurePosixPath(path).is_relative_to(base.boot.mount):
        reason = f"would be hidden: the boot volume is mounted on {base.boot.mount}"
    if reason:
        raise ConfigurationError(f"{edit.volume}:{path} {reason}", where=edit.origin)


def _check_parents(edit: Edit, placed: Mapping[Place, Edit]) -> None:
    for parent in PurePosixPath(edit.path).parents:
        above = placed.get(_place(edit.volume, str(parent)))
        if above is not None and not isinstance(above, MakeDir | SetMode):
            raise ConfigurationError(
                f"{edit.volume}:{edit.path} is below {parent}, which is no directory",
                where=edit.origin,
                hint=_both(above, edit),
            )
