"""Stamp a node: its image is the golden image with a few changed blocks, for the node's edits and its disk id.

The edits are applied to a copy of the golden image's metadata, some 20 MB. The changed blocks are the delta.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.fs import chunks, ext4, fat, mbr
from builder.fs.allocation import allocated
from builder.fs.changes import changes
from builder.fs.chunks import Delta
from builder.fs.tree import Tree
from builder.host.run import run
from builder.image.golden import Golden, States, state
from builder.model.disks import RECORD
from builder.model.edits import Edit, Volume
from builder.model.manifest import CHUNK_SIZE, DiskFacts, FileState, ImageFacts, image_digest
from builder.model.patches import Resolve
from builder.model.plan import Layout, Plan

TOOLS = ("cp",)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The node's image before it is written: its digests, and the blocks that differ from the golden image."""

    facts: ImageFacts
    disk: DiskFacts
    files: tuple[FileState, ...]
    delta: Delta


def stamp(plan: Plan, golden: Golden, *, blobs: Mapping[str, Path], secrets: Resolve, work: Path) -> Stamp:
    """Apply the node's edits. `work` is an empty directory for temporary files."""
    layout, states = plan.layout, dict(golden.states)
    with _file_in_memory() as edited:
        run(["cp", "--sparse=auto", golden.metadata, edited])
        starts: dict[Volume, int] = {"root": layout.root_start, "boot": layout.boot_start}
        for volume, start in starts.items():
            edits = [edit for edit in plan.node_edits() if edit.volume == volume]
            tree = _lazy_tree(golden, volume, edits, layout, work)

            def done(edit: Edit, path: str, tree: Tree = tree) -> None:
                states[f"{edit.volume}:{edit.path}"] = state(path, tree.entries.get(path))

            made = changes(tree, edits, blobs, secrets, done)
            (ext4 if volume == "root" else fat).edit(edited, start, made, work, golden.epoch)
        mbr.write_disk_id(edited, plan.identity.disk_id)
        disk = DiskFacts(
            boot_start=layout.boot_start,
            boot_size=layout.boot_size,
            root_start=layout.root_start,
            root_size=golden.root_size,
            disk_id=f"0x{plan.identity.disk_id:08x}",
        )
        with ThreadPoolExecutor(1) as pool:  # debugfs is slow to read all bitmaps
            used = pool.submit(allocated, edited, disk)
            delta = chunks.difference(golden.image, golden.metadata, edited)
            digests = chunks.stamped_digests(golden.image, golden.chunks, delta)
        recorded = image_digest(digests)
        rewritten = _record(edited, layout, states, recorded)
        delta, digests = chunks.amended(golden.image, delta, digests, rewritten)
    facts = ImageFacts(
        size=golden.image.stat().st_size,
        chunk_size=CHUNK_SIZE,
        digest=image_digest(digests),
        recorded=recorded if rewritten else None,
        chunks=tuple(digests),
        allocated=used.result(),
    )
    return Stamp(facts, disk, _file_states(plan, states), delta)


def _record(edited: Path, layout: Layout, states: States, digest: str) -> Delta:
    """Replace the zeros in the image's record by its digest, and return the changed blocks by offset in bytes."""
    where, zeros = f"boot:/{RECORD}", b"0" * len(digest)
    text = fat.read_file(edited, layout.boot_start, RECORD) if where in states else b""
    if zeros not in text:
        return {}
    ((start, _), *_) = fat.content_extents(edited, layout.boot_start, [RECORD])
    first = start + text.index(zeros)
    with edited.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), digest.encode(), first)
        blocks = range(first // chunks.BLOCK, (first + len(zeros) - 1) // chunks.BLOCK + 1)
        found = {block * chunks.BLOCK: os.pread(file.fileno(), chunks.BLOCK, block * chunks.BLOCK) for block in blocks}
    states[where]["sha256"] = hashlib.sha256(text.replace(zeros, digest.encode())).hexdigest()
    return found


@contextmanager
def _file_in_memory() -> Iterator[Path]:
    """The path of a file in memory. Tools would flush every change of a file on disk. The kernel frees the memory when
    this process ends."""
    descriptor = os.memfd_create("metadata")
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _lazy_tree(golden: Golden, volume: Volume, edits: Sequence[Edit], layout: Layout, work: Path) -> Tree:
    """The part of the golden image's tree that the edits can use: all folders and links, and files with the edits'
    names."""
    names = {part for edit in edits for part in edit.path.split("/")}

    def read(path: str) -> bytes:
        if volume == "boot":
            return fat.read_file(golden.image, layout.boot_start, path)
        return ext4.read_files(golden.image, layout.root_start, [path], work)[0]

    seen = (row for row in golden.index(volume) if row[1] != "file" or posixpath.basename(row[0]) in names)
    return Tree.of_index(seen, golden.epoch, read)


def _file_states(plan: Plan, states: States) -> tuple[FileState, ...]:
    last = {f"{edit.volume}:{edit.path}": edit for edit in (*plan.base_edits, *plan.edits)}
    found = {}
    for key, edit in last.items():
        file = FileState(volume=edit.volume, feature=edit.feature, origin=edit.origin, **states[key])
        found[edit.volume, file.path] = file
    return tuple(found[key] for key in sorted(found))
