"""k3s for nodes that reach no server of releases: fetched and checked here, locked, and baked into the golden image."""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path

from builder import recipe
from builder.disk import fat
from builder.errors import DownloadError
from builder.model.edits import Blob, PlaceBlob
from builder.model.identity import derived_uuid
from builder.model.k3s import Architecture, K3sCluster
from builder.model.lock import LockedFile, canonical
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.model.values import MIB
from builder.resolve import Resolver
from builder.sources import Cache, Pin, fetch_small
from builder.store import Store
from builder.tree import Entry, Tree

LABEL = "PIMU-AIRGAP"
_DISK = "airgap.img"
_LEAST = 40 * MIB  # of a FAT with 32 bits
_LONGEST_LIST = 1 << 16


def lock_names(plan: Plan) -> list[str]:
    """Of what this node's image holds of k3s, in pimu.lock."""
    cluster, architecture = plan.settings.k3s_cluster, _architecture(plan)
    if cluster is None or architecture is None:
        return []
    return [_name(cluster, asset) for asset in cluster.assets(architecture)]


def make_blobs(
    plan: Plan, resolver: Resolver, *, cache: Cache, store: Store, epoch: int, progress: Progress
) -> dict[str, Path]:
    """The blobs that the plan wants of k3s, none without `airgap`.

    A worker's are on a FAT disk, in the folders of a server of releases. Raises DownloadError.
    """
    cluster, architecture = plan.settings.k3s_cluster, _architecture(plan)
    if cluster is None or architecture is None:
        return {}
    assets = {asset: _fetched(cluster, architecture, asset, resolver) for asset in cluster.assets(architecture)}
    is_guests = "guest-airgap" in _wanted(plan)
    inputs = {
        "recipe": recipe.digest("airgap.py", "disk", "tree.py"),
        "assets": {asset: file.sha256 for asset, file in assets.items()},
        "disk": [plan.settings.cluster, cluster.version, epoch] if is_guests else [],
    }

    def make(fresh: Path) -> None:
        cache.require_whole(*(file.sha256 for file in assets.values()))
        files = {asset: cache.path(file.sha256) for asset, file in assets.items()}
        if not is_guests:
            for asset, path in files.items():
                shutil.copyfile(path, fresh / asset)
            return
        progress.step("airgap", f"k3s {cluster.version} for the guest: write the disk")
        sums = "".join(f"{file.sha256}  {asset}\n" for asset, file in assets.items()).encode()
        tree = Tree(epoch)
        tree.entries[cluster.version] = Entry("dir", 0o755)
        tree.entries[f"{cluster.version}/{cluster.list_of(architecture)}"] = Entry.of_bytes(sums, epoch)
        for asset, path in files.items():
            tree.entries[f"{cluster.version}/{asset}"] = _entry(path)
        _write_disk(tree, derived_uuid(plan.settings.cluster, cluster.version, "airgap"), fresh)

    made = store.make("k3s", inputs, make)
    if is_guests:
        return {"guest-airgap": made / _DISK}
    return dict(zip(("k3s", "k3s-images"), (made / asset for asset in assets), strict=False))


def _wanted(plan: Plan) -> set[Blob]:
    return {edit.blob for edit in plan.edits if isinstance(edit, PlaceBlob)}


def _architecture(plan: Plan) -> Architecture | None:
    """Of the node of the cluster, when its k3s is to be baked in."""
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
    text = fetch_small(url, _LONGEST_LIST).decode(errors="replace")
    found = re.search(rf"^([0-9a-f]{{64}})  {re.escape(asset)}$", text, re.MULTILINE)
    if found is None:
        raise DownloadError(f"names no {asset}", where=url, hint="is k3s.version in profiles/cluster.yaml a release?")
    return found[1]


def _entry(path: Path) -> Entry:
    return Entry("file", 0o644, size=path.stat().st_size, content=lambda: path.open("rb"))


def _write_disk(tree: Tree, identity: uuid.UUID, fresh: Path) -> None:
    total = sum(entry.size for _, entry in tree.files())
    image, work, size = fresh / _DISK, fresh / "work", max(_LEAST, -(-total // (20 * MIB)) * 21 * MIB + 4 * MIB)
    work.mkdir()
    fat.make_disk(image, tree, size=size, label=LABEL, volume_id=identity.time_low, fat=32, work=work)
    shutil.rmtree(work)
