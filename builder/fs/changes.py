"""Edits as changes of a filesystem: entries by path, which ext4.edit and fat.edit then put into a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from builder.fs.tree import Entry, Tree
from builder.model.edits import Edit
from builder.model.patches import Resolve, refuse_secrets

Change: TypeAlias = tuple[str, Entry | None, Entry | None]
"""Path, the entry before, and the entry after."""


def changes(
    tree: Tree,
    edits: Sequence[Edit],
    blobs: Mapping[str, Path],
    secrets: Resolve = refuse_secrets,
    done: Callable[[Edit, str], None] = lambda edit, path: None,
) -> list[Change]:
    """Apply the edits to the tree. By path in their order, each path once, new parents before their children.

    `done` is told of each edit, and of the resolved path that it changed. Raises ConfigurationError.
    """
    before = dict(tree.entries)
    touched: dict[str, None] = {}
    for edit in edits:
        touched.update(dict.fromkeys(tree.missing_parents(edit.path)))
        path = tree.apply(edit, blobs, secrets)
        touched[path] = None
        done(edit, path)
    found = [(path, before.get(path), tree.entries.get(path)) for path in touched]
    return [(path, old, new) for path, old, new in found if old is not new]
