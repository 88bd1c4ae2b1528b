"""A node's NoCloud seed, which tells the guest who it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.disk import fat, mbr
from builder.model.values import MIB
from builder.tree import Entry, Tree

_SEED_SIZE = MIB


def make_seed(files: Mapping[str, bytes], image: Path, volume_id: int, epoch: int, work: Path) -> None:
    """A NoCloud seed: a FAT volume labelled CIDATA (cloud-init's documentation of the NoCloud datasource)."""
    tree = Tree(epoch)
    for name, content in files.items():
        tree.entries[name] = Entry.of_bytes(content, epoch)
    mbr.sparse(image, _SEED_SIZE)
    fat.make(image, start=0, size=_SEED_SIZE, label="CIDATA", volume_id=volume_id, sectors_per_cluster=None, fat=12)
    fat.fill(image, 0, tree, work)
