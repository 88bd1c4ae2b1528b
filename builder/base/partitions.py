"""The disk in a published image, before the appliance is started for it: a raw one, with the partitions that its base's
profile says. All from its first sector; what is in the partitions is for the appliance to look at.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from builder.errors import BuildError, DownloadError
from builder.fs import mbr
from builder.model.settings import Base

HINT = "it is not what the profile of its base says: pin another image there, or build on another base"
_FAT, _LINUX = (0x0B, 0x0C, 0x0E), (0x83,)
_PRIMARY = 4  # partitions from 5 on are inside an extended one
_MAGICS = (
    (0, b"QFI\xfb", "a qcow"),
    (0, b"QED\0", "a QED"),
    (0, b"KDMV", "a VMDK"),
    (0, b"COWD", "a VMDK"),
    (0, b"# Disk DescriptorFile", "a VMDK"),
    (0, b"conectix", "a VHD"),
    (0, b"vhdxfile", "a VHDX"),
    (0, b"WithoutFreeSpace", "a Parallels"),
    (0, b"WithouFreSpacExt", "a Parallels"),
    (64, b"\x7f\x10\xda\xbe", "a VDI"),
)
"""Offset and bytes by which QEMU knows its formats: one that is taken for raw here may not be by the next tool."""


def require_layout(image: Path, base: Base, where: str) -> None:
    """Raise DownloadError, at `where`, unless this is a raw disk with the two partitions of the base, and whole."""
    with image.open("rb") as file:
        head = file.read(512)
    for offset, magic, kind in _MAGICS:
        if head.startswith(magic, offset):
            raise DownloadError(f"is {kind} disk, not a raw image", where=where, hint=HINT)
    try:
        partitions = mbr.read(image)
    except BuildError as refused:
        raise DownloadError(refused.message, where=where, hint=HINT) from refused
    fault = _impossible(partitions, image.stat().st_size) or _unexpected(partitions, base)
    if fault:
        raise DownloadError(fault, where=where, hint=HINT)


def _impossible(partitions: tuple[mbr.Partition, ...], size: int) -> str:
    for partition in partitions:
        if partition.size == 0 or partition.start < mbr.SECTOR:
            return f"partition {partition.number} cannot be: {partition.size} bytes at {partition.start}"
        if partition.end > size:
            return f"partition {partition.number} ends at {partition.end}, and the image at {size}: it is cut off"
    for lower, upper in pairwise(sorted(partitions, key=lambda partition: partition.start)):
        if upper.start < lower.end and upper.number <= _PRIMARY:
            return f"partitions {lower.number} and {upper.number} overlap"
    return ""


def _unexpected(partitions: tuple[mbr.Partition, ...], base: Base) -> str:
    if [partition.number for partition in partitions] != [1, 2]:
        numbers = ", ".join(str(partition.number) for partition in partitions) or "none"
        return f"has other partitions ({numbers}) than 1, a FAT, and 2, an ext4"
    boot, root = partitions
    for partition, kinds, name in ((boot, _FAT, "FAT (0x0b, 0x0c, 0x0e)"), (root, _LINUX, "Linux (0x83)")):
        if partition.kind not in kinds:
            return f"partition {partition.number} is of type 0x{partition.kind:02x}, not {name}"
    wanted = replace(boot, start=base.boot.start, size=base.boot.size), replace(root, start=base.root.start)
    for found, expected in zip(partitions, wanted, strict=True):
        if found != expected:
            has, asked = (f"has {one.size} bytes at {one.start}" for one in (found, expected))
            return f"partition {found.number} {has}, and in the profile it {asked}"
    return ""
