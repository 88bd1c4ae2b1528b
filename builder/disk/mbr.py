"""The partition table: a dos label with primary partitions (sfdisk(8))."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from builder.run import run

SECTOR = 512
FAT32_LBA, LINUX = "c", "83"
_DISK_ID = 440  # of the MBR, where Linux and libblkid look for it


def write(image: Path, *, disk_id: int, partitions: Sequence[tuple[int, int, str]]) -> None:
    """A dos label with primary partitions (start and size in bytes, type)."""
    lines = ["label: dos", f"label-id: 0x{disk_id:08x}"]
    for start, size, kind in partitions:
        lines.append(f"start={start // SECTOR}, size={size // SECTOR}, type={kind}")
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image], input="\n".join(lines).encode())


def write_disk_id(image: Path, disk_id: int) -> None:
    """The four bytes themselves: sfdisk would wait until the whole copied image is on the disk."""
    with image.open("r+b") as file:
        file.seek(_DISK_ID)
        file.write(disk_id.to_bytes(4, "little"))


def sparse(image: Path, size: int) -> None:
    """A file of `size` bytes that occupies nothing."""
    with image.open("xb") as file:
        os.truncate(file.fileno(), size)
