"""The content of a disk, by its own bytes. lsblk has it from udev, which may not run, may not have looked again, or may
not know what it saw: then a full disk would look blank."""

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
"""It comes to be at the first boot: a disk without it has never run a guest."""
SERVER_DATA = ("/var/lib/rancher/k3s/server/db", "/var/lib/rancher/k3s/storage")
"""The cluster's database, of SQLite or of etcd, and the volumes of pods that k3s' local-path provisioner makes (k3s's
documentation, "Cluster Datastore" and "Volumes and Storage"). Both come to be when k3s runs: no image has them."""
_SAMPLES, _SAMPLE = 256, 4096


def content_of(device: Device, boot_start: int) -> Content:
    """`boot_start` is where the boot volume of a disk of ours is, in bytes: one
    whose flashing was interrupted has no table that says so.

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
    # A disk whose boot volume alone is left of us has become somebody else's.
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
    """Types of the filesystems in its partitions, with any kind of table: the kernel need not know of them."""
    for start, size in _windows(path):
        words = ["--match-tag", "TYPE", "--output", "value", "--offset", str(start), "--size", str(size)]
        found = run(["blkid", "--probe", *words, path], check=False, timeout=limits.DISK_PROBE_SECONDS)
        yield BTRFS_OF_SEVERAL if _is_btrfs_of_several(device, start) else printable(found.text.strip())


def _windows(path: Path) -> Iterator[tuple[int, int]]:
    """Start and size of partitions in bytes, as sfdisk(8) tells them."""
    said = run(["sfdisk", "--json", path], check=False, timeout=limits.DISK_PROBE_SECONDS)
    table = json.loads(said.text, strict=False)["partitiontable"] if said.returncode == 0 else {}
    sector = table.get("sectorsize", 512)
    for row in table.get("partitions", ()):
        yield row["start"] * sector, row["size"] * sector


def _is_btrfs_of_several(device: Device, start: int) -> bool:
    """btrfs(5), superblock: magic, and how many devices there are."""
    block = device.read(start + 65536, 4096)
    return block[64:72] == b"_BHRfS_M" and int.from_bytes(block[136:144], "little") > 1


def _is_blank(device: Device) -> bool:
    """Both ends and samples from between are all zeros, or all ones, as erased flash reads."""
    return not any(piece.strip(piece[:1]) or piece[:1] not in (b"\0", b"\xff") for piece in _samples(device))


def _samples(device: Device) -> Iterator[bytes]:
    size = device.size
    yield device.read(0, MIB)
    for number in range(1, _SAMPLES):
        yield device.read(size * number // _SAMPLES // _SAMPLE * _SAMPLE, _SAMPLE)
    last = max(0, size - MIB)
    yield device.read(last, size - last)


def _record(path: Path, start: int) -> Record | None:
    """A stranger's FAT may be broken on purpose: the file is bounded, and so is the time."""
    with tempfile.TemporaryFile() as file:
        bounded = ["prlimit", f"--fsize={limits.RECORD}", "mtype", "-i", f"{path}@@{start}", f"::/{RECORD}"]
        try:
            said = run(bounded, stdout=file, check=False, timeout=limits.DISK_PROBE_SECONDS)
        except BuildError:
            return None
        file.seek(0)
        return Record.from_json(file.read()) if said.returncode == 0 else None


def _occupied(path: Path, start: int, file: str) -> int | None:
    """Bytes on the disk of a file of the ext4 volume at `start`; None when it is not there."""
    try:
        said = run(
            ["debugfs", "-R", f"stat {file}", f"{path}?offset={start}"], check=False, timeout=limits.DISK_PROBE_SECONDS
        )
    except BuildError:
        return None
    blocks = re.search(r"\bBlockcount: (\d+)", said.text)
    return int(blocks[1]) * 512 if blocks else None
