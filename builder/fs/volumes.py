"""Guests' filesystems as files of the build host: edited and looked into without a mount, like those of the Pi."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.fs import ext4
from builder.fs.changes import changes
from builder.fs.tree import Entry, Tree
from builder.model.edits import Edit
from builder.model.patches import Resolve, refuse_secrets


@dataclass(frozen=True, slots=True)
class Ext4:
    """The filesystem at byte `start` of a raw disk; `work` is an empty folder for contents on their way."""

    image: Path
    start: int
    work: Path

    def look(self, paths: Iterable[str]) -> dict[str, Entry]:
        """By absolute path, each entry that exists."""
        wanted = list(dict.fromkeys(path.strip("/") for path in paths))
        return {f"/{path}": entry for path, entry in ext4.look(self.image, self.start, wanted, self.work).items()}

    def apply(self, edits: Sequence[Edit], epoch: int, secrets: Resolve = refuse_secrets) -> None:
        """Raises BuildError when the filesystem is not clean, ConfigurationError for an edit that cannot be made."""
        touched = dict.fromkeys(part for edit in edits for part in _with_parents(edit.path))
        tree = Tree(epoch)
        tree.entries |= ext4.look(self.image, self.start, list(touched), self.work)
        ext4.edit(self.image, self.start, changes(tree, edits, {}, secrets), self.work, epoch)


@dataclass(frozen=True, slots=True)
class System:
    """A system that boots: its root, and the place of its kernel (`boot_folder` on the volume `boot`, which may be the
    root)."""

    root: Ext4
    boot: Ext4
    boot_folder: str


def _with_parents(path: str) -> Iterable[str]:
    """`etc`, `etc/ssh`, `etc/ssh/sshd_config`."""
    return itertools.accumulate(path.strip("/").split("/"), posixpath.join)
