"""A node's NoCloud seed, which tells the guest who it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.fs import fat
from builder.fs.tree import Entry, Tree
from builder.limits import MIB

_SEED_SIZE = MIB


def make_seed(files: Mapping[str, bytes], image: Path, volume_id: int, epoch: int, work: Path) -> None:
    """A NoCloud seed: a FAT volume labelled CIDATA (cloud-init's documentation of the NoCloud datasource)."""
    tree = Tree(epoch)
    for name, content in files.items():
        tree.entries[name] = Entry.of_bytes(content, epoch)
    fat.make_disk(image, tree, size=_SEED_SIZE, label="CIDATA", volume_id=volume_id, fat=12, work=work)
