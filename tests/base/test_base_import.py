"""A base's layers are what the appliance reads out of a disk image of them: the way in for published images. One that
is not what it should be is an error, and nothing of it stays.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from builder.base.imported import ImportedBase, Importer
from builder.base.layers import Layers
from builder.base.volumes import import_layers
from builder.build import Built
from builder.errors import DownloadError
from builder.fetch import Cache
from builder.fs.tree import Tree
from builder.host.run import run
from builder.image.golden import make_golden
from builder.lock.lock_file import LOCK_FILE
from builder.lock.resolve import Resolver
from builder.model.layer import BOOT_TAR, DPKG_STATUS, ROOT_TAR
from builder.model.lock import LockedImage
from builder.model.progress import Silent
from builder.store import upkeep
from builder.store.products import Store
from tests.conftest import SHIPPED
from tests.tiny_image import MIB, ROOT_SIZE, ROOT_START, debugfs, make_image, tiny_base

pytestmark = pytest.mark.disk


@pytest.mark.soak  # test_raspios.py imports a whole system in every run; here each fact of each file is compared
def test_layers_survive_the_way_through_a_disk(built: Built, tmp_path: Path) -> None:
    root, quiet = upkeep.default_root(), Silent()
    resolver = Resolver(SHIPPED / LOCK_FILE, Cache(root), Store(root), quiet, offline=True)
    layer = Layers(resolver, Cache(root), Store(root), quiet).base(built.plan).layer
    plain = replace(built.plan, base_edits=(), edits=())
    image = make_golden(plain, [layer], [], epoch=0, store=Store(tmp_path / "store"), progress=quiet).image

    boot, system = import_layers(image, built.plan.base, tmp_path, quiet, "URL")

    made = facts(layer.folder / ROOT_TAR)
    found = facts(system)
    assert found.pop("lost+found") == ("dir", 0o700, 0, 0, "", "", ())
    assert len(made) > 10_000
    assert {path: (made.get(path), found.get(path)) for path in differing(made, found)} == {}
    contents = {
        path: fact[5] for path, fact in facts(layer.folder / BOOT_TAR).items()
    }  # FAT keeps neither modes nor owners
    assert {path: fact[5] for path, fact in facts(boot).items()} == contents


STATUS = b"Package: dpkg\nStatus: install ok installed\n"


def system(folder: Path) -> Path:
    """The least that a system of Debian's kind has."""
    for name, content in {
        "var/lib/dpkg/status": STATUS,
        "etc/apt/sources.list": b"deb http://example.org/debian stable main\n",
        "etc/apt/trusted.gpg.d/a.gpg": b"KEY",
        "usr/bin/su": b"program",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "usr/bin/su").chmod(0o4755)
    os.link(folder / "usr/bin/su", folder / "usr/bin/twin")
    (folder / "bin").symlink_to("usr/bin")
    (folder / "dev").mkdir()
    return folder


def imported(image: Path, folder: Path) -> ImportedBase:
    """The image as it would be taken from the cache, where it is a file of its own name."""
    content = image.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    cache = Cache(folder / "cache")
    cache.take_in(image, sha256)
    locked = LockedImage("", "https://example.org/i.img", sha256, len(content), sha256, len(content), "")
    importer = Importer(cache, Store(folder / "cache"), Silent(), offline=True)
    return importer.read("raspios-trixie", tiny_base(), locked)


def refused(image: Path, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        imported(image, folder)
    assert caught.value.where == "https://example.org/i.img"
    assert not list((folder / "cache/work").iterdir())
    assert not [path for path in (folder / "cache/imports").iterdir() if path.is_dir()]
    return caught.value.message


def test_a_system_is_imported_without_its_devices(tmp_path: Path) -> None:
    """Bootstrapped systems have some in /dev; those of the kernel take their place."""
    make_image(image := tmp_path / "image", system(tmp_path / "system"))
    debugfs(image, "cd dev", "mknod null c 1 3", "mknod pipe p")
    made = imported(image, tmp_path)
    tree = Tree.of_layers([made.layer.folder / ROOT_TAR], epoch=0)
    assert [path for path, _ in tree.sorted() if path.startswith(("dev", "lost+found"))] == ["dev"]
    assert tree.entries["usr/bin/su"].mode == 0o4755
    assert tree.entries["usr/bin/su"] is tree.entries["usr/bin/twin"]
    assert tree.entries["bin"].target == "usr/bin"
    assert (made.layer.folder / DPKG_STATUS).read_bytes() == STATUS
    assert [source.uri for source in made.sources] == ["http://example.org/debian"]
    assert "config.txt" in Tree.of_layers([made.layer.folder / BOOT_TAR], epoch=0).entries


def test_names_that_no_system_has_are_refused(tmp_path: Path) -> None:
    (system(tmp_path / "system") / "etc/two\nlines").touch()
    make_image(image := tmp_path / "image", tmp_path / "system")
    said = refused(image, tmp_path)
    assert said == "no base can be made of it: './etc/two\\nlines' is not a name for a file of the Pi"


def test_a_root_volume_that_is_no_ext4_is_told(tmp_path: Path) -> None:
    make_image(image := tmp_path / "image")
    run(["mkfs.fat", "--offset", str(ROOT_START // 512), image, str(ROOT_SIZE >> 10)])
    assert refused(image, tmp_path) == "the root volume holds a filesystem of type vfat, not ext4"


def test_an_image_is_looked_at_before_the_appliance_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image(image := tmp_path / "image")
    os.truncate(image, ROOT_START + ROOT_SIZE - MIB)
    monkeypatch.setattr("builder.machines.appliance.Appliance.__enter__", lambda _: pytest.fail("it was started"))
    assert "it is cut off" in refused(image, tmp_path)


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
