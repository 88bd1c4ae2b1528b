"""A base's layers are what the appliance reads out of a disk image of them: the way in for published images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder import cache
from builder.appliance import import_layers
from builder.bake import BOOT_TAR, ROOT_TAR
from builder.bases import Bakery
from builder.build import Built
from builder.disk.golden import make_golden
from builder.model.progress import Silent
from builder.resolve import LOCK_FILE, Resolver
from builder.sources import Cache
from builder.store import Store
from builder.tree import Tree
from tests.conftest import SHIPPED

pytestmark = pytest.mark.disk


def test_layers_survive_the_way_through_a_disk(built: Built, tmp_path: Path) -> None:
    root, quiet = cache.default_root(), Silent()
    resolver = Resolver(SHIPPED / LOCK_FILE, Cache(root), Store(root), quiet, offline=True)
    layer = Bakery(resolver, Cache(root), Store(root), quiet).base(built.plan).folder
    plain = replace(built.plan, base_edits=(), edits=())
    image = make_golden(plain, [layer], {}, epoch=0, store=Store(tmp_path / "store"), progress=quiet).image

    boot, system = import_layers(image, built.plan.base, tmp_path, quiet)

    made = facts(layer / ROOT_TAR)
    found = facts(system)
    assert found.pop("lost+found") == ("dir", 0o700, 0, 0, "", "", ())
    assert len(made) > 10_000
    assert {path: (made.get(path), found.get(path)) for path in differing(made, found)} == {}
    contents = {path: fact[5] for path, fact in facts(layer / BOOT_TAR).items()}  # FAT keeps neither modes nor owners
    assert {path: fact[5] for path, fact in facts(boot).items()} == contents


Facts = dict[str, tuple[str, int, int, int, str, str, tuple[tuple[str, str], ...]]]


def facts(archive: Path) -> Facts:
    """Kind, mode, owner, group, target, content and capabilities of each path."""
    tree = Tree.of_layers([archive], epoch=0)
    return {
        path: (
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.target,
            entry.sha256() if entry.kind == "file" else "",
            tuple(sorted((name, value) for name, value in entry.xattrs.items() if "capability" in name)),
        )
        for path, entry in tree.sorted()
    }


def differing(made: Facts, found: Facts) -> list[str]:
    return sorted(path for path in made.keys() | found.keys() if made.get(path) != found.get(path))
