"""Golden images and node images. A golden image is made once per role, holds no secret and no identity; a node image
is a copy of it, stamped: the node's edits, and its disk id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder import recipe
from builder.bake import BOOT_TAR, ROOT_TAR
from builder.disk import chunks, ext4, fat, mbr
from builder.model.edits import Edit, Volume
from builder.model.identity import derived_disk_id
from builder.model.manifest import CHUNK_SIZE, DiskFacts, FileState, ImageFacts, image_digest
from builder.model.patches import Resolve
from builder.model.plan import Layout, Plan
from builder.model.progress import Progress
from builder.run import run
from builder.store import Store
from builder.tree import Entry, Tree

_IMAGE, _FACTS = "disk.img", "golden.json"
Change = tuple[str, Entry | None, Entry | None]
States = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Golden:
    """`states` are the golden edits' results by `volume:path of the edit`, `index` the trees by volume."""

    image: Path
    epoch: int
    root_size: int
    chunks: list[str]
    states: States
    index: Mapping[str, Sequence[Sequence[Any]]]


def make_golden(
    plan: Plan, layers: Sequence[Path], blobs: Mapping[str, Path], *, epoch: int, store: Store, progress: Progress
) -> Golden:
    """`layers`, the lowest first, and the role's edits as a disk image in the store."""
    edits = plan.golden_edits()
    inputs = {
        "recipe": recipe.digest("disk", "tree.py", "model"),
        "tools": {
            "mke2fs": recipe.version("mke2fs", "-V"),
            "mkfs.fat": recipe.version("mkfs.fat", "--help"),
            "mtools": recipe.version("mcopy"),
            "sfdisk": recipe.version("sfdisk"),
        },
        "layers": [layer.name for layer in layers],
        "blobs": {name: blob.parent.name for name, blob in blobs.items()},
        "edits": [repr(replace(edit, feature="", origin="")) for edit in edits],
        "layout": repr(plan.layout),
        "role": [plan.settings.cluster, plan.settings.role],
        "epoch": epoch,
    }

    def make(fresh: Path) -> None:
        progress.step("golden", f"{plan.settings.role} on {plan.settings.base}: merge layers, write the disk")
        trees: dict[Volume, Tree] = {
            "root": Tree.of_layers([layer / ROOT_TAR for layer in layers], epoch),
            "boot": _boot_tree(layers, epoch),
        }
        states: States = {}
        for edit in edits:
            path = trees[edit.volume].apply(edit, blobs)
            states[f"{edit.volume}:{edit.path}"] = _state(path, trees[edit.volume].entries.get(path))
        root_size = _write_disk(plan, trees, fresh, epoch)
        facts = {
            "epoch": epoch,
            "root_size": root_size,
            "chunks": chunks.digests(fresh / _IMAGE),
            "states": states,
            "index": {volume: tree.index() for volume, tree in trees.items()},
        }
        (fresh / _FACTS).write_text(json.dumps(facts))

    made = store.make("golden", inputs, make)
    return Golden(image=made / _IMAGE, **json.loads((made / _FACTS).read_text()))


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


def stamp(
    plan: Plan, golden: Golden, image: Path, *, blobs: Mapping[str, Path], secrets: Resolve, work: Path
) -> tuple[ImageFacts, DiskFacts, tuple[FileState, ...]]:
    """Make `image`, the node's, and say what it holds. `work` is an empty directory for contents on their way."""
    layout = plan.layout
    run(["cp", "--sparse=auto", "--reflink=auto", golden.image, image])
    image.chmod(0o600)  # it may hold a password's hash
    states = dict(golden.states)
    for volume, start in (("root", layout.root_start), ("boot", layout.boot_start)):
        tree = _lazy_tree(golden, volume, layout, work)
        edits = [edit for edit in plan.node_edits() if edit.volume == volume]
        changes = _changes(tree, edits, blobs, secrets, states)
        (ext4 if volume == "root" else fat).edit(image, start, changes, work, golden.epoch)
    mbr.write_disk_id(image, plan.identity.disk_id)
    digests = chunks.stamped_digests(image, golden.image, golden.chunks)
    facts = ImageFacts(
        size=image.stat().st_size, chunk_size=CHUNK_SIZE, digest=image_digest(digests), chunks=tuple(digests)
    )
    disk = DiskFacts(
        boot_start=layout.boot_start,
        boot_size=layout.boot_size,
        root_start=layout.root_start,
        root_size=golden.root_size,
        disk_id=f"0x{plan.identity.disk_id:08x}",
    )
    return facts, disk, _file_states(plan, states)


def _lazy_tree(golden: Golden, volume: str, layout: Layout, work: Path) -> Tree:
    def read(path: str) -> bytes:
        if volume == "boot":
            return fat.read_file(golden.image, layout.boot_start, path)
        return ext4.read_files(golden.image, layout.root_start, [path], work)[0]

    return Tree.of_index(golden.index[volume], golden.epoch, read)


def _changes(
    tree: Tree, edits: Sequence[Edit], blobs: Mapping[str, Path], secrets: Resolve, states: States
) -> list[Change]:
    """What the edits change, by path in their order, each path once, new parents before what is in them."""
    before = dict(tree.entries)
    touched: dict[str, None] = {}
    for edit in edits:
        touched.update(dict.fromkeys(tree.missing_parents(edit.path)))
        path = tree.apply(edit, blobs, secrets)
        touched[path] = None
        states[f"{edit.volume}:{edit.path}"] = _state(path, tree.entries.get(path))
    return [(path, before.get(path), tree.entries.get(path)) for path in touched]


def _state(path: str, entry: Entry | None) -> dict[str, Any]:
    """A FileState without who asked for it: that changes with every line added to a profile, and the bytes do not."""
    if entry is None:
        return {"path": f"/{path}", "type": "absent"}
    facts = {"path": f"/{path}", "type": entry.kind, "mode": entry.mode, "uid": entry.uid, "gid": entry.gid}
    if entry.kind == "link":
        return {**facts, "target": entry.target}
    if entry.kind == "file":
        return {**facts, "sha256": entry.sha256(), "size": entry.size}
    return facts


def _file_states(plan: Plan, states: States) -> tuple[FileState, ...]:
    last = {f"{edit.volume}:{edit.path}": edit for edit in plan.edits}
    found = {}
    for key, edit in last.items():
        state = FileState(volume=edit.volume, feature=edit.feature, origin=edit.origin, **states[key])
        found[edit.volume, state.path] = state
    return tuple(found[key] for key in sorted(found))
