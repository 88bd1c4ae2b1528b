"""A published image as a base: fetched, confirmed by its publisher, locked, and read once into a layer."""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import published, recipe, unpacking
from builder.appliance import import_layers
from builder.bake import BOOT_TAR, DPKG_STATUS, ROOT_TAR
from builder.errors import BuildError, DownloadError
from builder.image_layout import HINT
from builder.image_sources import image_sources
from builder.model.lock import LockedImage
from builder.model.progress import Progress
from builder.model.settings import Base
from builder.model.sources import AptSource, ImageSource
from builder.published import Named
from builder.sources import Cache
from builder.store import Store, require_whole
from builder.tree import Tree

_FACTS, KEYRINGS, _RAW = "base.json", "keyrings", "disk.img"
_NOT_THE_SYSTEMS = ("lost+found/", "dev/", "proc/", "sys/", "run/")
_LARGEST_STATUS = 64 << 20
_CODE = ("appliance.py", "images.py", "image_layout.py", "image_sources.py", "tar_reader.py", "tree.py", "unpacking.py")


@dataclass(frozen=True, slots=True)
class ImportedBase:
    """`folder` is the layer's. `epoch`: seconds, of the newest file. `sources` are the image's own; what they name as
    `keyring` is a key of `keyrings`."""

    folder: Path
    epoch: int
    sources: tuple[AptSource, ...]
    keyrings: dict[str, Path]


def named(name: str, source: ImageSource) -> Named:
    """The image of a base."""
    instead = "--base debian-trixie needs no image, only a Debian mirror"
    return Named(name, source, f"profiles/bases/{name}.yaml", instead)


@dataclass(frozen=True, slots=True)
class Importer:
    """Where images come from and go to."""

    cache: Cache
    store: Store
    progress: Progress
    offline: bool

    def take(self, name: str, source: ImageSource) -> LockedImage:
        """Fetch the image for the first time, and ask the publisher about what the profile has second-hand.

        Raises DownloadError: not to be had, not what its pin says, or not signed by the pinned key.
        """
        wanted = named(name, source)
        taken, url = published.take(wanted, self.cache, self.progress, offline=self.offline), source.urls[0]
        digest, size = source.extracted_sha256, source.extracted_size
        if digest is None or size is None:
            with self.store.workspace() as work:
                digest = self._unpack(url, taken.file, work / _RAW, size, digest)
                size = (work / _RAW).stat().st_size
        packed = taken.file.stat().st_size
        return LockedImage(wanted.request, url, taken.sha256, packed, digest, size, taken.signed_by)

    def read(self, name: str, base: Base, locked: LockedImage) -> ImportedBase:
        """The image's two volumes as a layer, read in the appliance: once per image."""

        def make(fresh: Path) -> None:
            with self.store.workspace() as work:
                self.cache.require_whole(locked.sha256)
                raw, packed = work / _RAW, self.cache.path(locked.sha256)
                self._unpack(locked.url, packed, raw, locked.extracted_size, locked.extracted_sha256)
                boot, root = import_layers(raw, base, work, self.progress, locked.url)
                raw.unlink()
                _write_layer(boot, root, fresh, locked.url)

        inputs = {
            "recipe": recipe.digest(*_CODE),
            "image": locked.extracted_sha256,
            "volumes": [base.boot.start, base.root.start],
        }
        folder = self.store.make("layers", inputs, make)
        require_whole(folder, _FACTS)
        facts = json.loads((folder / _FACTS).read_text())
        sources = tuple(AptSource.model_validate(source) for source in facts["sources"])
        require_whole(folder, *(f"{KEYRINGS}/{source.keyring}" for source in sources))
        keyrings = {source.keyring: folder / KEYRINGS / source.keyring for source in sources}
        return ImportedBase(folder, facts["epoch"], sources, keyrings)

    def _unpack(self, url: str, file: Path, raw: Path, size: int | None, sha256: str | None) -> str:
        self.progress.step("unpack", posixpath.basename(url))
        return unpacking.unpack(file, raw, size=size, sha256=sha256, where=url, progress=self.progress)


def _write_layer(boot: Path, root: Path, fresh: Path, where: str) -> None:
    """In one order, and without what is not the system's. Raises DownloadError, at `where`, for what no system has."""
    try:
        tree = Tree.of_volume(root, epoch=0, skip=_is_not_the_systems)
        boot_tree = Tree.of_volume(boot, epoch=0)
    except BuildError as refused:
        raise DownloadError(f"no base can be made of it: {refused.message}", where=where, hint=HINT) from refused
    status = tree.get("var/lib/dpkg/status")
    if status is None or status.kind != "file" or status.size > _LARGEST_STATUS:
        raise DownloadError("has no var/lib/dpkg/status: no system of Debian's kind", where=where, hint=HINT)
    (fresh / DPKG_STATUS).write_bytes(status.read())
    (fresh / KEYRINGS).mkdir()
    sources = image_sources(tree, fresh / KEYRINGS)
    facts: dict[str, Any] = {
        "epoch": max(entry.mtime for entry in tree.entries.values()),
        "sources": [source.model_dump(mode="json") for source in sources],
    }
    (fresh / _FACTS).write_text(json.dumps(facts))
    tree.write_tar(fresh / ROOT_TAR)
    boot_tree.write_tar(fresh / BOOT_TAR)


def _is_not_the_systems(path: str) -> bool:
    """mke2fs makes its own lost+found, the kernel its devices: published images have some, from their bootstrap."""
    return path == "lost+found" or path.startswith(_NOT_THE_SYSTEMS)
