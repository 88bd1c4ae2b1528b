"""Golden images: the whole disk of a role, made once, without a secret or an identity. image.stamp makes each node's
image from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from builder.errors import ConfigurationError
from builder.fs import chunks, ext4, fat, mbr
from builder.fs.tree import Entry, Tree
from builder.host.run import run
from builder.model.edits import Edit, Symlink, Volume
from builder.model.identity import derived_disk_id
from builder.model.layer import BOOT_TAR, ROOT_TAR
from builder.model.manifest import CHUNK_SIZE
from builder.model.plan import Layout, Plan
from builder.model.progress import Progress
from builder.store.products import Blobs, LockEntries, Product, Store, require_whole
from builder.store.step import register

TOOLS = ("cp", "e2image", "fallocate", "rm")

_IMAGE, _METADATA, _FACTS = "disk.img", "metadata.img", "golden.json"
_INDEX = "{}.json"
States = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Golden:
    """`name` is for messages. `metadata` is the image without the contents of files; it has every block that an edit
    reads or changes. `states` has the results of the golden edits by `VOLUME:PATH`. `locked` has the entries of
    pimu.lock that are in the image. `blobs` has the files that edits place, by name.
    """

    folder: Path
    name: str
    locked: LockEntries
    blobs: Mapping[str, Path]
    epoch: int
    root_size: int
    chunks: list[str]
    states: States

    @property
    def image(self) -> Path:
        return self.folder / _IMAGE

    @property
    def metadata(self) -> Path:
        return self.folder / _METADATA

    def index(self, volume: Volume) -> list[list[Any]]:
        """The rows of `Tree.of_index`. They are read only on demand, because there are tens of thousands."""
        rows: list[list[Any]] = json.loads((self.folder / _INDEX.format(volume)).read_text())
        return rows


def make_golden(
    plan: Plan, layers: Sequence[Product], blobs: Sequence[Blobs], *, epoch: int, store: Store, progress: Progress
) -> Golden:
    """The disk image in the store, made from `layers` (lowest first) and the role's edits. Raises DamagedError when a
    layer in the cache has changed."""
    edits, settings = plan.golden_edits(), plan.settings
    files = {name: file for one in blobs for name, file in one.files.items()}
    inputs = {
        "layers": [layer.key for layer in layers],
        "blobs": {name: one.product.key for one in blobs for name in one.files},
        "edits": [repr(replace(edit, feature="", origin="")) for edit in edits],
        "layout": repr(plan.layout),
        "role": [settings.cluster, settings.role],
        "epoch": epoch,
    }
    parents = (*layers, *(one.product for one in blobs))

    def fill(fresh: Path) -> None:
        progress.step("golden", f"{settings.role} on {settings.base}: merge layers, write the disk")
        with ThreadPoolExecutor() as pool:
            list(pool.map(require_whole, {parent.folder: None for parent in parents}))
        disk = _Disk(plan.layout, settings.cluster, settings.role, epoch)
        _write(disk, [layer.folder for layer in layers], files, edits, fresh)

    guest = f", guest {plan.guest_disk.name}" if plan.guest_disk else ""
    step = store.step(_MAKER, f"{settings.role} on {settings.base}{guest}", inputs)
    made = store.make(step, fill, parents=parents)
    folder = made.folder
    require_whole(folder, _FACTS, *(_INDEX.format(volume) for volume in get_args(Volume)))
    return Golden(folder, step.name, made.locked, files, **json.loads((folder / _FACTS).read_text()))


@dataclass(frozen=True, slots=True)
class _Disk:
    """The facts for a golden disk. The disk id is derived from `cluster` and `role`. `epoch` is in seconds since
    1970."""

    layout: Layout
    cluster: str
    role: str
    epoch: int


def _write(disk: _Disk, layers: Sequence[Path], blobs: Mapping[str, Path], edits: Sequence[Edit], fresh: Path) -> None:
    """Write the golden image, its metadata and the facts of both into `fresh`."""
    epoch = disk.epoch
    trees: dict[Volume, Tree] = {
        "root": Tree.of_layers([layer / ROOT_TAR for layer in layers], epoch),
        "boot": _boot_tree(layers, epoch),
    }
    states: States = {}
    for edit in edits:
        path = trees[edit.volume].apply(edit, blobs)
        states[f"{edit.volume}:{edit.path}"] = state(path, trees[edit.volume].entries.get(path))
    _require_targets(edits, trees["root"])
    root_size = _write_disk(disk, trees, fresh)
    run(["fallocate", "--dig-holes", fresh / _IMAGE])  # mke2fs writes zeros, and every node would copy them
    _copy_metadata(fresh, disk.layout, trees["boot"])
    facts = {"epoch": epoch, "root_size": root_size, "chunks": chunks.digests(fresh / _IMAGE), "states": states}
    for volume, tree in trees.items():
        (fresh / _INDEX.format(volume)).write_text(json.dumps(tree.index()))
    (fresh / _FACTS).write_text(json.dumps(facts))


def _require_targets(edits: Sequence[Edit], root: Tree) -> None:
    """Raises ConfigurationError for a link into /usr without a target, such as a time zone or a unit that does not
    exist. systemd would ignore such a link silently."""
    for edit in edits:
        if isinstance(edit, Symlink) and edit.target.startswith("/usr/") and root.get(edit.target) is None:
            raise ConfigurationError(
                f"cannot {edit.describe()}: the image has no {edit.target}",
                where=edit.origin,
                hint=f"asked for by the feature {edit.feature}",
            )


def _boot_tree(layers: Sequence[Path], epoch: int) -> Tree:
    """The boot volume of the newest layer that has one: each layer has it whole."""
    newest = [layer / BOOT_TAR for layer in layers if (layer / BOOT_TAR).exists()][-1:]
    return Tree.of_layers(newest, epoch)


def _write_disk(disk: _Disk, trees: Mapping[Volume, Tree], fresh: Path) -> int:
    layout, image, tar = disk.layout, fresh / _IMAGE, fresh / "root.tar"
    root_size = -(-ext4.needed_size(trees["root"], layout.root_margin) // (2 * CHUNK_SIZE)) * (2 * CHUNK_SIZE)
    mbr.sparse(image, layout.root_start + root_size)
    partitions = [
        (layout.boot_start, layout.boot_size, mbr.FAT32_LBA),
        (layout.root_start, root_size, mbr.LINUX),
    ]
    mbr.write(image, disk_id=derived_disk_id(disk.cluster, disk.role), partitions=partitions)
    trees["root"].write_tar(tar)
    ext4.make(
        image,
        tar,
        start=layout.root_start,
        size=root_size,
        label=layout.root_label,
        uuid=layout.root_uuid,
        hash_seed=layout.root_hash_seed,
        features=layout.root_features,
        epoch=disk.epoch,
    )
    tar.unlink()
    fat.make(
        image,
        start=layout.boot_start,
        size=layout.boot_size,
        label=layout.boot_label,
        volume_id=layout.boot_volume_id,
        sectors_per_cluster=layout.sectors_per_cluster,
        fat=32,
    )
    work = fresh / "work"
    work.mkdir()
    fat.fill(image, layout.boot_start, trees["boot"], work)
    run(["rm", "-rf", work])
    return root_size


def _copy_metadata(fresh: Path, layout: Layout, boot: Tree) -> None:
    """Write metadata.img: a sparse copy that keeps the root volume's metadata (e2image(8), -r) and everything before
    that volume except file contents."""
    image, full, metadata, start = fresh / _IMAGE, fresh / "full.img", fresh / _METADATA, layout.root_start
    run(["e2image", "-r", "-o", str(start), "-O", str(start), image, full])
    run(["cp", "--sparse=always", full, metadata])
    full.unlink()
    contents = fat.content_extents(image, layout.boot_start, [path for path, _ in boot.files()])
    chunks.apply(chunks.blocks_outside(image, start, contents), metadata)


def state(path: str, entry: Entry | None) -> dict[str, Any]:
    """The fields of a FileState without `feature` and `origin`: a new line in a profile changes an origin, but no byte
    of the image."""
    if entry is None:
        return {"path": f"/{path}", "type": "absent"}
    facts = {"path": f"/{path}", "type": entry.kind, "mode": entry.mode, "uid": entry.uid, "gid": entry.gid}
    if entry.kind == "link":
        return {**facts, "target": entry.target}
    if entry.kind == "file":
        return {**facts, "sha256": entry.sha256(), "size": entry.size}
    return facts


_MAKER = register("golden", _write)
