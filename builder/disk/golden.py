"""Golden images: a role's whole disk, made once, without secret or identity; `builder.disk.stamp` makes nodes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from builder import recipe
from builder.bake import BOOT_TAR, ROOT_TAR
from builder.disk import chunks, ext4, fat, mbr
from builder.errors import ConfigurationError
from builder.model.edits import Edit, Symlink, Volume
from builder.model.identity import derived_disk_id
from builder.model.manifest import CHUNK_SIZE
from builder.model.plan import Layout, Plan
from builder.model.progress import Progress
from builder.run import run
from builder.store import Store, require_whole
from builder.tree import Entry, Tree

_IMAGE, _METADATA, _FACTS = "disk.img", "metadata.img", "golden.json"
_INDEX = "{}.json"
States = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Golden:
    """`metadata` is the image without what is in its files: all that an edit looks at or changes.

    `states` are the golden edits' results by `volume:path of the edit`.
    """

    folder: Path
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
        """Rows of `Tree.of_index`. Tens of thousands: read when somebody wants them."""
        rows: list[list[Any]] = json.loads((self.folder / _INDEX.format(volume)).read_text())
        return rows


def make_golden(
    plan: Plan, layers: Sequence[Path], blobs: Mapping[str, Path], *, epoch: int, store: Store, progress: Progress
) -> Golden:
    """`layers`, the lowest first, and the role's edits as a disk image in the store."""
    edits = plan.golden_edits()
    inputs = {
        "recipe": recipe.digest("disk", "tar_reader.py", "tree.py", "model"),
        "tools": recipe.versions(
            ("mke2fs", "-V"), ("mkfs.fat", "--help"), ("mcopy", "--version"), ("sfdisk", "--version")
        ),
        "layers": [layer.name for layer in layers],
        "blobs": {name: blob.parent.name for name, blob in blobs.items()},
        "edits": [repr(replace(edit, feature="", origin="")) for edit in edits],
        "layout": repr(plan.layout),
        "role": [plan.settings.cluster, plan.settings.role],
        "epoch": epoch,
    }

    def make(fresh: Path) -> None:
        progress.step("golden", f"{plan.settings.role} on {plan.settings.base}: merge layers, write the disk")
        with ThreadPoolExecutor() as pool:
            list(pool.map(require_whole, (*layers, *{blob.parent for blob in blobs.values()})))
        trees: dict[Volume, Tree] = {
            "root": Tree.of_layers([layer / ROOT_TAR for layer in layers], epoch),
            "boot": _boot_tree(layers, epoch),
        }
        states: States = {}
        for edit in edits:
            path = trees[edit.volume].apply(edit, blobs)
            states[f"{edit.volume}:{edit.path}"] = state(path, trees[edit.volume].entries.get(path))
        _require_targets(edits, trees["root"])
        root_size = _write_disk(plan, trees, fresh, epoch)
        run(["fallocate", "--dig-holes", fresh / _IMAGE])  # mke2fs writes zeros, and every node would copy them
        _copy_metadata(fresh, plan.layout, trees["boot"])
        facts = {
            "epoch": epoch,
            "root_size": root_size,
            "chunks": chunks.digests(fresh / _IMAGE),
            "states": states,
        }
        for volume, tree in trees.items():
            (fresh / _INDEX.format(volume)).write_text(json.dumps(tree.index()))
        (fresh / _FACTS).write_text(json.dumps(facts))

    made = store.make("golden", inputs, make)
    require_whole(made, _FACTS, *(_INDEX.format(volume) for volume in get_args(Volume)))
    return Golden(made, **json.loads((made / _FACTS).read_text()))


def _require_targets(edits: Sequence[Edit], root: Tree) -> None:
    """A time zone that does not exist, a unit that the base lacks: a link to nowhere is no error to systemd."""
    for edit in edits:
        if isinstance(edit, Symlink) and edit.target.startswith("/usr/") and root.get(edit.target) is None:
            raise ConfigurationError(
                f"cannot {edit.describe()}: the image has no {edit.target}",
                where=edit.origin,
                hint=f"asked for by the feature {edit.feature}",
            )


def _boot_tree(layers: Sequence[Path], epoch: int) -> Tree:
    """A layer's boot volume is whole: the newest one counts."""
    newest = [layer / BOOT_TAR for layer in layers if (layer / BOOT_TAR).exists()][-1:]
    return Tree.of_layers(newest, epoch)


def _write_disk(plan: Plan, trees: Mapping[Volume, Tree], fresh: Path, epoch: int) -> int:
    layout, image, tar = plan.layout, fresh / _IMAGE, fresh / "root.tar"
    root_size = -(-ext4.needed_size(trees["root"], layout.root_margin) // (2 * CHUNK_SIZE)) * (2 * CHUNK_SIZE)
    mbr.sparse(image, layout.root_start + root_size)
    partitions = [
        (layout.boot_start, layout.boot_size, mbr.FAT32_LBA),
        (layout.root_start, root_size, mbr.LINUX),
    ]
    mbr.write(image, disk_id=derived_disk_id(plan.settings.cluster, plan.settings.role), partitions=partitions)
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
        epoch=epoch,
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
    """What e2image(8) takes for metadata of the root volume, and all before it but the files' contents; else holes."""
    image, full, metadata, start = fresh / _IMAGE, fresh / "full.img", fresh / _METADATA, layout.root_start
    run(["e2image", "-r", "-o", str(start), "-O", str(start), image, full])
    run(["cp", "--sparse=always", full, metadata])
    full.unlink()
    contents = fat.content_extents(image, layout.boot_start, [path for path, _ in boot.files()])
    chunks.apply(chunks.blocks_outside(image, start, contents), metadata)


def state(path: str, entry: Entry | None) -> dict[str, Any]:
    """A FileState without who asked for it: that changes with every line added to a profile, and the bytes do not."""
    if entry is None:
        return {"path": f"/{path}", "type": "absent"}
    facts = {"path": f"/{path}", "type": entry.kind, "mode": entry.mode, "uid": entry.uid, "gid": entry.gid}
    if entry.kind == "link":
        return {**facts, "target": entry.target}
    if entry.kind == "file":
        return {**facts, "sha256": entry.sha256(), "size": entry.size}
    return facts
