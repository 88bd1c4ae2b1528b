"""The partition table: a dos label with primary partitions (sfdisk(8))."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.host.run import run

TOOLS = ("sfdisk",)

SECTOR = 512
FAT32_LBA, LINUX = "c", "83"
_DISK_ID = 440  # of the MBR, where Linux and libblkid look for it


@dataclass(frozen=True, slots=True)
class Partition:
    """`start` and `size` in bytes; `kind` is the type byte (0x0c FAT32, 0x83 Linux), `bootable` the flag
    that a BIOS boot loader looks for."""

    number: int
    start: int
    size: int
    kind: int
    bootable: bool

    @property
    def end(self) -> int:
        return self.start + self.size


def read(image: Path) -> tuple[Partition, ...]:
    """The partitions as the table has them, which need not be possible. Raises BuildError: there is no dos label."""
    said = run(["sfdisk", "--json", image], check=False)
    if said.returncode != 0:
        raise BuildError("has no partition table", where=str(image))
    table = json.loads(said.text)["partitiontable"]
    if table["label"] != "dos":
        raise BuildError(f"has a {table['label']} partition table, not a dos one (MBR)", where=str(image))
    return tuple(_partition(row, table["device"]) for row in table.get("partitions", []))


def _partition(row: dict[str, Any], device: str) -> Partition:
    """sfdisk puts a p before the number where the device's name ends with a digit."""
    number = row["node"].removeprefix(device).removeprefix("p")
    return Partition(
        int(number), row["start"] * SECTOR, row["size"] * SECTOR, int(row["type"], 16), row.get("bootable", False)
    )


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
