"""A published image as a base: fetched, confirmed by its publisher, locked, and read once into a layer."""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import limits
from builder.base.archives import image_sources
from builder.base.partitions import HINT
from builder.base.volumes import import_layers
from builder.errors import BuildError, DownloadError
from builder.fetch import Cache, unpacking, upstream
from builder.fetch.upstream import named_base
from builder.fs.tree import Tree
from builder.model.layer import BOOT_TAR, DPKG_STATUS, KEYRINGS, ROOT_TAR
from builder.model.lock import LockedImage
from builder.model.progress import Progress
from builder.model.settings import Base
from builder.model.sources import AptSource, ImageSource
from builder.store.products import Product, Store, require_whole
from builder.store.step import register

_FACTS, _RAW = "base.json", "disk.img"
_NOT_THE_SYSTEMS = ("lost+found/", "dev/", "proc/", "sys/", "run/")


@dataclass(frozen=True, slots=True)
class ImportedBase:
    """`epoch`: seconds, of the newest file. `sources` are the image's own; what they name as
    `keyring` is a key of `keyrings`."""

    layer: Product
    epoch: int
    sources: tuple[AptSource, ...]
    keyrings: dict[str, Path]


@dataclass(frozen=True, slots=True)
class Importer:
    """Fetches published images into the cache, and reads them into layers of the store."""

    cache: Cache
    store: Store
    progress: Progress
    offline: bool

    def take(self, name: str, source: ImageSource) -> LockedImage:
        """Fetch the image for the first time, and ask the publisher about what the profile has second-hand.

        Raises DownloadError: not to be had, not what its pin says, or not signed by the pinned key.
        """
        wanted = named_base(name, source)
        taken, url = upstream.take(wanted, self.cache, self.progress, offline=self.offline), source.urls[0]
        digest, size = source.extracted_sha256, source.extracted_size
        if digest is None or size is None:
            with self.store.workspace() as work:
                digest = _unpack(url, taken.file, work / _RAW, size, digest, progress=self.progress)
                size = (work / _RAW).stat().st_size
        packed = taken.file.stat().st_size
        return LockedImage(wanted.request, url, taken.sha256, packed, digest, size, taken.signed_by)

    def read(self, name: str, base: Base, locked: LockedImage) -> ImportedBase:
        """The image's two volumes as a layer, read in the appliance: once per image."""

        def fill(fresh: Path) -> None:
            self.cache.require_whole(locked.sha256)
            with self.store.workspace() as work:
                _import(locked, self.cache.path(locked.sha256), base, fresh, work=work, progress=self.progress)

        inputs = {"image": locked.extracted_sha256, "volumes": [base.boot.start, base.root.start]}
        made = self.store.make(self.store.step(_MAKER, name, inputs), fill, locked={name: locked})
        folder = made.folder
        require_whole(folder, _FACTS)
        facts = json.loads((folder / _FACTS).read_text())
        sources = tuple(AptSource.model_validate(source) for source in facts["sources"])
        require_whole(folder, *(f"{KEYRINGS}/{source.keyring}" for source in sources))
        keyrings = {source.keyring: folder / KEYRINGS / source.keyring for source in sources}
        return ImportedBase(made, facts["epoch"], sources, keyrings)


def _import(locked: LockedImage, packed: Path, base: Base, fresh: Path, *, work: Path, progress: Progress) -> None:
    """Write the layer of the file `packed` into `fresh`; `work` is an empty folder."""
    raw = work / _RAW
    _unpack(locked.url, packed, raw, locked.extracted_size, locked.extracted_sha256, progress=progress)
    boot, root = import_layers(raw, base, work, progress, locked.url)
    raw.unlink()
    _write_layer(boot, root, fresh, locked.url)


def _unpack(url: str, file: Path, raw: Path, size: int | None, sha256: str | None, *, progress: Progress) -> str:
    progress.step("unpack", posixpath.basename(url))
    return unpacking.unpack(file, raw, size=size, sha256=sha256, where=url, progress=progress)


def _write_layer(boot: Path, root: Path, fresh: Path, where: str) -> None:
    """In one order, and without what is not the system's. Raises DownloadError, at `where`, for what no system has."""
    try:
        tree = Tree.of_volume(root, epoch=0, skip=_is_not_the_systems)
        boot_tree = Tree.of_volume(boot, epoch=0)
    except BuildError as refused:
        raise DownloadError(f"no base can be made of it: {refused.message}", where=where, hint=HINT) from refused
    status = tree.get("var/lib/dpkg/status")
    if status is None or status.kind != "file" or status.size > limits.DPKG_STATUS:
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


_MAKER = register("imports", _import)
