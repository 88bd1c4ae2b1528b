"""The blocks of an image that must be on a disk: all that its filesystems count on, and no others; as bmaptool is told
them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from builder.build import Built
from builder.fs.allocation import allocated
from builder.fs.chunks import BLOCK, data_extents
from builder.host.run import run
from builder.model.manifest import Manifest
from builder.publish.bmap import block_map
from builder.publish.digests import digests_of

pytestmark = pytest.mark.disk


def copied(image: Path, manifest: Manifest, target: Path) -> Path:
    """A disk full of something else, after the extents of the manifest are copied onto it."""
    size = manifest.image.size
    with image.open("rb") as source, target.open("wb") as disk:
        for offset in range(0, size, 1 << 20):
            disk.write(b"\xa5" * min(1 << 20, size - offset))
        for start, end in manifest.image.allocated:
            source.seek(start)
            disk.seek(start)
            for offset in range(start, end, 1 << 20):
                disk.write(source.read(min(1 << 20, end - offset)))
    return target


def test_filesystems_on_a_dirty_disk_are_whole_and_say_the_same(
    built: Built, manifest: Manifest, tmp_path: Path
) -> None:
    disk = copied(built.image, manifest, tmp_path / "disk")
    root, boot = tmp_path / "root.img", tmp_path / "boot.img"
    layout = manifest.layout
    for part, start, size in ((root, layout.root_start, layout.root_size), (boot, layout.boot_start, layout.boot_size)):
        run(
            [
                "dd",
                f"if={disk}",
                f"of={part}",
                "bs=4M",
                "iflag=skip_bytes,count_bytes",
                f"skip={start}",
                f"count={size}",
            ]
        )
    run(["e2fsck", "-f", "-n", root])
    run(["fsck.fat", "-n", boot])
    assert allocated(disk, layout) == manifest.image.allocated
    trees = [
        run(["debugfs", "-R", "ls -l -r /etc", f"{image}?offset={start}"]).text
        for image, start in ((root, 0), (built.image, layout.root_start))
    ]
    assert trees[0] == trees[1]
    listed = [
        run(["mdir", "-/", "-b", "-i", where, "::/"]).text for where in (boot, f"{built.image}@@{layout.boot_start}")
    ]
    assert listed[0] == listed[1]


def test_no_data_is_outside_of_it_and_free_room_is(built: Built, manifest: Manifest) -> None:
    extents = manifest.image.allocated
    assert all(start % BLOCK == 0 == end % BLOCK and start < end for start, end in extents)
    assert all(end < start for (_, end), (start, _) in pairwise(extents))
    with built.image.open("rb") as file:
        for first, last in data_extents(file.fileno(), manifest.image.size):
            within = any(start <= first and last <= end for start, end in extents)
            file.seek(first)
            assert within or not any(file.read(last - first)), (first, last)
    assert sum(end - start for start, end in extents) < manifest.image.size - manifest.plan["layout"]["root_margin"] / 2


def map_of(image: Path, manifest: Manifest) -> str:
    return block_map(manifest.image, digests_of(image, manifest.image.allocated).extents)


def test_bmaptool_takes_the_map_and_copies_a_whole_image(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "node-003.bmap").write_text(map_of(built.image, manifest))
    disk = tmp_path / "disk"
    run(["bmaptool", "copy", "--bmap", tmp_path / "node-003.bmap", built.image, disk])
    assert allocated(disk, manifest.layout) == manifest.image.allocated
    run(["cmp", disk, built.image])


def test_bmaptool_finds_a_changed_block(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "node-003.bmap").write_text(map_of(built.image, manifest))
    damaged = tmp_path / "node-003.img"
    run(["cp", "--sparse=always", built.image, damaged])
    with damaged.open("r+b") as file:
        file.seek(manifest.layout.root_start + (80 << 20))
        file.write(b"damage")
    said = run(["bmaptool", "copy", "--bmap", tmp_path / "node-003.bmap", damaged, tmp_path / "disk"], check=False)
    assert said.returncode != 0
    assert "checksum mismatch" in (said.text + said.stderr.decode()).lower()
