"""The files behind the bytes by which two images differ, found in real file systems."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.fs import fat, mbr
from builder.fs.chunks import digests
from builder.fs.copies import copy_sparse
from builder.fs.owners import differing_blocks, owners
from builder.fs.tree import Entry, Tree
from builder.host.run import run
from builder.model.manifest import DiskFacts
from tests.verify.test_diff import image_of, manifest_of

MIB = 1 << 20
DISK = DiskFacts(
    boot_start=MIB, boot_size=40 * MIB, root_start=41 * MIB, root_size=18 * MIB, disk_id="0xdeadbeef"
)  # mtools takes a FAT32 of less than 65525 clusters for a FAT16


def made_disk(image: Path, system: Path, boot: dict[str, bytes]) -> Path:
    """A disk with the folder `system` as its root volume, and `boot`, by path, on the other."""
    tree, work = Tree(1_700_000_000), image.with_suffix(".work")
    for name, content in boot.items():
        if folder := name.rpartition("/")[0]:
            tree.entries[folder] = Entry("dir", 0o755, 0, 0, tree.epoch)
        tree.entries[name] = Entry.of_bytes(content, tree.epoch)
    work.mkdir()
    mbr.sparse(image, 60 * MIB)
    parts = [(DISK.boot_start, DISK.boot_size, mbr.FAT32_LBA), (DISK.root_start, DISK.root_size, mbr.LINUX)]
    mbr.write(image, disk_id=0xDEADBEEF, partitions=parts)
    fat.make(image, start=DISK.boot_start, size=DISK.boot_size, label="B", volume_id=7, sectors_per_cluster=1, fat=32)
    fat.fill(image, DISK.boot_start, tree, work)
    options = f"offset={DISK.root_start},root_owner=0:0"
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", options, "-d", system, image, f"{DISK.root_size // 1024}k"])
    return image


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two images that are the same as yet."""
    system = tmp_path / "system"
    (system / "usr/lib").mkdir(parents=True)
    (system / "usr/lib/large").write_bytes(bytes(range(256)) * 12000)
    (system / "usr/lib/small file").write_bytes(b"x" * 9000)
    (system / "usr/lib/other").write_bytes(b"y" * 9000)
    old = made_disk(tmp_path / "old.img", system, {"config.txt": b"[pi4]\n", "overlays/README": b"read me " * 1000})
    new = tmp_path / "new.img"
    copy_sparse(old, new)
    return old, new


def changed(image: Path, text: bytes, start: int) -> None:
    """Change a byte of the first block that begins with `text`."""
    content = bytearray(image.read_bytes())
    at = next(found.start() for found in re.finditer(re.escape(text), content) if found.start() >= start)
    content[at + 1] ^= 1
    image.write_bytes(content)


def names(pair: tuple[Path, Path]) -> set[str]:
    old, new = pair
    chunks = [number for number, (a, b) in enumerate(zip(digests(old), digests(new), strict=True)) if a != b]
    blocks = differing_blocks(old, new, chunks)
    return set(owners(new, DISK, blocks).values())


@pytest.mark.parametrize(
    ("text", "start", "name"),
    [
        (b"x" * 4096, DISK.root_start, "root:/usr/lib/small file"),
        (bytes(range(256)) * 4, DISK.root_start, "root:/usr/lib/large"),
        (b"[pi4]", DISK.boot_start, "boot:/config.txt"),
        (b"read me ", DISK.boot_start, "boot:/overlays/README"),
    ],
    ids=["small", "large", "boot", "boot, in a folder"],
)
def test_a_changed_byte_is_told_by_its_file(pair: tuple[Path, Path], text: bytes, start: int, name: str) -> None:
    changed(pair[1], text, start)
    assert names(pair) == {name}


def test_what_is_in_no_file_is_told_by_its_volume(pair: tuple[Path, Path]) -> None:
    run(["debugfs", "-w", "-R", "ssv volume_name OTHER", f"{pair[1]}?offset={DISK.root_start}"])
    assert names(pair) == {"root:(file system)"}


def test_what_is_in_no_partition_is_said_to_be_there(pair: tuple[Path, Path]) -> None:
    changed(pair[1], b"\xde", 440)
    assert names(pair) == {"(outside the partitions)"}


def test_several_files_are_told_and_no_others(pair: tuple[Path, Path]) -> None:
    for text in (b"x" * 4096, b"y" * 4096):
        changed(pair[1], text, DISK.root_start)
    assert names(pair) == {"root:/usr/lib/small file", "root:/usr/lib/other"}


def test_the_command_names_them(
    pair: tuple[Path, Path],
    project_folder: Path,
    command_line: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed(pair[1], b"x" * 4096, DISK.root_start)
    for image in pair:
        facts = image_of(tuple(digests(image)))
        manifest = manifest_of(project_folder, image=facts, layout=DISK)
        image.with_suffix(".manifest.json").write_text(manifest.to_json())
    assert command_line("diff", *map(str, pair), "--quiet") == 1
    assert "chunks     root:/usr/lib/small file\n" in capsys.readouterr().out
    assert command_line("diff", *map(str, pair), "--json") == 1
    assert json.loads(capsys.readouterr().out)["behind"] == ["root:/usr/lib/small file"]
