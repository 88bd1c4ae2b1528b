"""k3s for nodes that reach no server of releases: fetched and checked here, locked, and baked into the golden image."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import DownloadError
from builder.fetch import Cache, Pin, fetch_small
from builder.fs import fat
from builder.fs.tree import Entry, Tree
from builder.limits import MIB, SMALL_DOWNLOAD
from builder.lock.resolve import Resolver
from builder.model.edits import Blob, PlaceBlob
from builder.model.identity import derived_uuid
from builder.model.k3s import Architecture, K3sCluster
from builder.model.lock import LockedFile, canonical
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.store.products import Blobs, Store
from builder.store.step import register

LABEL = "PIMU-AIRGAP"
_DISK = "airgap.img"
_LEAST = 40 * MIB  # of a FAT with 32 bits
_LOG = logging.getLogger(__name__)


def make_blobs(
    plan: Plan, resolver: Resolver, *, cache: Cache, store: Store, epoch: int, progress: Progress
) -> Blobs | None:
    """The blobs that the plan wants of k3s; None without `airgap`.

    A worker's are on a FAT disk, in the folders of a server of releases. Raises DownloadError.
    """
    cluster, architecture = plan.settings.k3s_cluster, _architecture(plan)
    if cluster is None or architecture is None:
        return None
    assets = {asset: _fetched(cluster, architecture, asset, resolver) for asset in cluster.assets(architecture)}
    is_guests = "guest-airgap" in _wanted(plan)
    inputs = {
        "assets": {asset: file.sha256 for asset, file in assets.items()},
        "disk": [plan.settings.cluster, cluster.version, epoch] if is_guests else [],
    }

    def fill(fresh: Path) -> None:
        cache.require_whole(*(file.sha256 for file in assets.values()))
        files = {asset: cache.path(file.sha256) for asset, file in assets.items()}
        if is_guests:
            progress.step("airgap", f"k3s {cluster.version} for the guest: write the disk")
            _write(fresh, files, _Folder(plan.settings.cluster, cluster.version, cluster.list_of(architecture), epoch))
        else:
            _write(fresh, files, None)

    name = f"{cluster.version} {architecture} {'disk' if is_guests else 'files'}"
    locked = {_name(cluster, asset): file for asset, file in assets.items()}
    made = store.make(store.step(_MAKER, name, inputs), fill, locked=locked)
    if is_guests:
        return Blobs(made, {"guest-airgap": made.folder / _DISK})
    paths = (made.folder / asset for asset in assets)
    return Blobs(made, dict(zip(("k3s", "k3s-images"), paths, strict=False)))


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder of releases on a FAT disk: whose cluster it is for, its name, the name of its list of checksums, and its
    files' time in seconds. The disk's identity follows from the first two."""

    cluster: str
    name: str
    list_name: str
    epoch: int


def _write(fresh: Path, files: Mapping[str, Path], folder: _Folder | None) -> None:
    """Put the files, which the cache names by their sha256, into `fresh`: as they are, or in a folder on a disk."""
    if folder is None:
        for asset, path in files.items():
            shutil.copyfile(path, fresh / asset)
        return
    sums = "".join(f"{path.name}  {asset}\n" for asset, path in files.items()).encode()
    tree = Tree(folder.epoch)
    tree.entries[folder.name] = Entry("dir", 0o755)
    tree.entries[f"{folder.name}/{folder.list_name}"] = Entry.of_bytes(sums, folder.epoch)
    for asset, path in files.items():
        tree.entries[f"{folder.name}/{asset}"] = _entry(path)
    _write_disk(tree, derived_uuid(folder.cluster, folder.name, "airgap"), fresh)


def _wanted(plan: Plan) -> set[Blob]:
    return {edit.blob for edit in plan.edits if isinstance(edit, PlaceBlob)}


def _architecture(plan: Plan) -> Architecture | None:
    """The architecture of the cluster's node (the guest or the Pi); None when no k3s is baked in."""
    if "guest-airgap" in _wanted(plan) and plan.guest is not None:
        return plan.guest.architecture
    return plan.base.architecture if "k3s" in _wanted(plan) else None


def _name(cluster: K3sCluster, asset: str) -> str:
    return f"k3s {cluster.version} {asset}"


def _fetched(cluster: K3sCluster, architecture: Architecture, asset: str, resolver: Resolver) -> LockedFile:
    url, binary = cluster.url_of(asset), cluster.assets(architecture)[0]
    given = cluster.sha256.get(architecture, "") if asset == binary else ""
    remedy = "correct k3s.version or k3s.sha256 in profiles/cluster.yaml"

    def pin() -> Pin:
        return Pin(url, given or _listed(cluster, architecture, asset), None, remedy)

    return resolver.file(_name(cluster, asset), canonical({"url": url, "sha256": given}), pin)


def _listed(cluster: K3sCluster, architecture: Architecture, asset: str) -> str:
    """As the release's own list has it."""
    url = cluster.url_of(cluster.list_of(architecture))
    text = fetch_small(url, SMALL_DOWNLOAD).decode(errors="replace")
    found = re.search(rf"^([0-9a-f]{{64}})  {re.escape(asset)}$", text, re.MULTILINE)
    if found is None:
        raise DownloadError(f"names no {asset}", where=url, hint="is k3s.version in profiles/cluster.yaml a release?")
    _LOG.warning(
        "%s: only a checksum from its own server confirms it, for k3s signs no release; compare %s with another source",
        asset,
        found[1],
    )
    return found[1]


def _entry(path: Path) -> Entry:
    return Entry("file", 0o644, size=path.stat().st_size, content=lambda: path.open("rb"))


def _write_disk(tree: Tree, identity: uuid.UUID, fresh: Path) -> None:
    total = sum(entry.size for _, entry in tree.files())
    image, work, size = fresh / _DISK, fresh / "work", max(_LEAST, -(-total // (20 * MIB)) * 21 * MIB + 4 * MIB)
    work.mkdir()
    fat.make_disk(image, tree, size=size, label=LABEL, volume_id=identity.time_low, fat=32, work=work)
    shutil.rmtree(work)


_MAKER = register("k3s", _write)
