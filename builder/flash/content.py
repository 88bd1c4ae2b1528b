"""Read the content of a disk from its own bytes. lsblk takes it from udev. udev may be absent, out of date, or unable
to recognise the content, and a full disk would then look blank."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from builder import limits
from builder.errors import BuildError
from builder.flash.device import Device
from builder.flash.guard import BTRFS_OF_SEVERAL
from builder.fs import mbr
from builder.host.run import run
from builder.limits import MIB
from builder.model.disks import RECORD, Content, Record, printable

NODE = "/etc/pimu/node.conf"
GUEST_DISK = "/var/lib/pimu/guest/disk.qcow2"
"""The first boot makes this file. A disk without it has never run a guest."""
SERVER_DATA = ("/var/lib/rancher/k3s/server/db", "/var/lib/rancher/k3s/storage")
"""The cluster's database (SQLite or etcd), and the volumes of pods from k3s's local-path provisioner (k3s's
documentation, "Cluster Datastore" and "Volumes and Storage"). k3s makes both when it runs; no image has them."""
_SAMPLES, _SAMPLE = 256, 4096


def content_of(device: Device, boot_start: int) -> Content:
    """The content of the disk. `boot_start` is the offset in bytes of the image's boot volume: after an interrupted
    flash the disk has no partition table, and its record is searched for there.

    Raises BuildError when it cannot be read.
    """
    path = device.path
    signatures = _signatures(path)
    if _is_btrfs_of_several(device, 0):
        signatures = (*signatures, BTRFS_OF_SEVERAL)
    try:
        partitions = mbr.read(path) if "dos" in signatures else ()
    except BuildError:
        partitions = ()
    starts = {partition.number: partition.start for partition in partitions}
    # If the disk has partitions, but not our root volume, it now belongs to somebody else.
    ours = not starts or (2 in starts and _occupied(path, starts[2], NODE) is not None)
    return Content(
        signatures=signatures,
        blank=_is_blank(device),
        record=_record(path, starts.get(1, boot_start)) if ours else None,
        extra_partitions=len(starts.keys() - {1, 2}),
        guest_bytes=_occupied(path, starts[2], GUEST_DISK) if 2 in starts else None,
        server_data=tuple(name for name in SERVER_DATA if 2 in starts and _occupied(path, starts[2], name) is not None),
        inside=tuple(_inside(path, device)),
    )


def _signatures(path: Path) -> tuple[str, ...]:
    said = run(["wipefs", "--no-act", "--json", path], timeout=limits.DISK_PROBE_SECONDS).text.strip()
    rows = json.loads(said, strict=False)["signatures"] if said else []  # nothing at all, for nothing
    return tuple(dict.fromkeys(printable(row["type"]) for row in rows))


def _inside(path: Path, device: Device) -> Iterator[str]:
    """Types of the filesystems in the partitions, for any kind of partition table. The kernel need not know them."""
    for start, size in _windows(path):
        words = ["--match-tag", "TYPE", "--output", "value", "--offset", str(start), "--size", str(size)]
        found = run(["blkid", "--probe", *words, path], check=False, timeout=limits.DISK_PROBE_SECONDS)
        yield BTRFS_OF_SEVERAL if _is_btrfs_of_several(device, start) else printable(found.text.strip())


def _windows(path: Path) -> Iterator[tuple[int, int]]:
    """Start and size in bytes of the partitions, by sfdisk(8)."""
    said = run(["sfdisk", "--json", path], check=False, timeout=limits.DISK_PROBE_SECONDS)
    table = json.loads(said.text, strict=False)["partitiontable"] if said.returncode == 0 else {}
    sector = table.get("sectorsize", 512)
    for row in table.get("partitions", ()):
        yield row["start"] * sector, row["size"] * sector


def _is_btrfs_of_several(device: Device, start: int) -> bool:
    """Whether there is a btrfs with more than one device: the magic and the number of devices in its superblock
    (btrfs(5))."""
    block = device.read(start + 65536, 4096)
    return block[64:72] == b"_BHRfS_M" and int.from_bytes(block[136:144], "little") > 1


def _is_blank(device: Device) -> bool:
    """Whether both ends of the disk and samples between them are all zeros or all ones (erased flash may read so)."""
    return not any(piece.strip(piece[:1]) or piece[:1] not in (b"\0", b"\xff") for piece in _samples(device))


def _samples(device: Device) -> Iterator[bytes]:
    size = device.size
    yield device.read(0, MIB)
    for number in range(1, _SAMPLES):
        yield device.read(size * number // _SAMPLES // _SAMPLE * _SAMPLE, _SAMPLE)
    last = max(0, size - MIB)
    yield device.read(last, size - last)


def _record(path: Path, start: int) -> Record | None:
    """The record on the boot volume at `start`, or None. Size and time are limited, because a FAT may be broken on
    purpose."""
    with tempfile.TemporaryFile() as file:
        bounded = ["prlimit", f"--fsize={limits.RECORD}", "mtype", "-i", f"{path}@@{start}", f"::/{RECORD}"]
        try:
            said = run(bounded, stdout=file, check=False, timeout=limits.DISK_PROBE_SECONDS)
        except BuildError:
            return None
        file.seek(0)
        return Record.from_json(file.read()) if said.returncode == 0 else None


def _occupied(path: Path, start: int, file: str) -> int | None:
    """Allocated bytes of a file or folder on the ext4 volume at `start`; None when it does not exist."""
    try:
        said = run(
            ["debugfs", "-R", f"stat {file}", f"{path}?offset={start}"], check=False, timeout=limits.DISK_PROBE_SECONDS
        )
    except BuildError:
        return None
    blocks = re.search(r"\bBlockcount: (\d+)", said.text)
    return int(blocks[1]) * 512 if blocks else None
