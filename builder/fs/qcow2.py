"""Disks as QEMU keeps them (qemu-img(1); QEMU, docs/interop/qcow2.rst)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import BuildError
from builder.host.run import run

TOOLS = ("prlimit", "qemu-img")

DISK = "disk.qcow2"
_MAGIC = b"QFI\xfb"
_HEAD = struct.Struct(">4sIQIIQIIQQIIQ")
"""Version 2's header: magic, version, offset and size of the backing file's name, cluster bits, size, encryption, L1
entries, L1 offset, refcount table's offset and clusters, snapshots, their offset."""
_MORE = struct.Struct(">QQQII")
"""Version 3's: incompatible, compatible, autoclear features, refcount order, header length."""
_V2_LENGTH, _V3_LENGTH = 72, 104
_CLUSTER_BITS = range(9, 22)  # 512 bytes to 2 MiB, as QEMU itself
_REFCOUNT_ORDERS = range(7)
_DATA_FILE, _COMPRESSION = 1 << 2, 1 << 3
_HINT = "do not use it: the guest's profile should pin another"
_CONFINED = ("prlimit", f"--as={limits.QCOW2_MEMORY}", f"--cpu={limits.QCOW2_SECONDS}")


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    name_offset: int
    cluster_bits: int
    size: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    features: int
    refcount_order: int

    def faults(self, file_size: int) -> list[str]:
        """Everything that a published disk has no need of, or that would cost memory for its own sake."""
        cluster = 1 << self.cluster_bits
        mapped = cluster * (cluster // 8)  # bytes of the disk, by an entry of L1
        found = {
            f"is of version {self.version}, neither 2 nor 3": self.version not in (2, 3),
            f"has clusters of 2^{self.cluster_bits} bytes": self.cluster_bits not in _CLUSTER_BITS,
            "is encrypted": self.encryption != 0,
            f"has {self.snapshots} snapshots": self.snapshots != 0,
            f"needs features that it should not need (0x{self.features:x})": bool(self.features & ~_COMPRESSION),
            f"has counters of 2^{self.refcount_order} bits": self.refcount_order not in _REFCOUNT_ORDERS,
        }
        faults = [what for what, holds in found.items() if holds]
        if not faults and self.l1_entries > -(-self.size // mapped) + 1:
            faults.append(f"has a table of {self.l1_entries} entries for {self.size} bytes")
        if not faults and self.refcount_clusters * cluster > min(limits.QCOW2_COUNTERS, file_size):
            faults.append(f"has {self.refcount_clusters} clusters of counters in a file of {file_size} bytes")
        if not faults and max(self.l1_offset, self.refcount_offset) >= file_size:
            faults.append(f"has a table beyond its end at {file_size}")
        return faults


def write_qcow2(raw: Path, folder: Path) -> None:
    """The raw disk as `folder`/disk.qcow2; the raw one is removed. Blocks that were never written take no room."""
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / DISK])
    raw.unlink()


def read_qcow2(file: Path, raw: Path, *, most: int, where: str, largest: int = limits.CLOUD_IMAGE) -> None:
    """A published qcow2 as a raw disk of `most` bytes. It may have that size at most, and `largest`: a guest's own disk
    is larger, and mostly holes.

    Its header is judged before qemu-img reads it. Raises BuildError, at `where`: no qcow2, larger, damaged, or one that
    names other files, which would be the build host's.
    """
    with file.open("rb") as disk:
        head = disk.read(_V3_LENGTH)
    header = _header(head, where)
    if header.name_offset or header.features & _DATA_FILE:
        raise BuildError("is no disk by itself: it names another file", where=where, hint=_HINT)
    if faults := header.faults(file.stat().st_size):
        raise BuildError(f"is a qcow2 that {faults[0]}", where=where, hint=_HINT)
    if header.size > most:
        raise BuildError(f"is a disk of {header.size} bytes, larger than the profile's {most}", where=where)
    if header.size > largest:
        said = f"is a disk of {header.size} bytes, and {largest} are the most"
        raise BuildError(said, where=where, hint=_HINT)
    confined = [*_CONFINED, f"--fsize={header.size}", "--"]
    try:
        run([*confined, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, raw], timeout=limits.QCOW2_SECONDS)
    except BuildError as error:
        raise BuildError(f"is damaged: {error.message}", where=where, hint=_HINT) from error
    with raw.open("r+b") as disk:
        disk.truncate(most)


def _header(head: bytes, where: str) -> _Header:
    if not head.startswith(_MAGIC) or len(head) < _V2_LENGTH:
        raise BuildError("is no qcow2", where=where, hint=_HINT)
    _, version, name, _, bits, size, encryption, entries, l1, refs, counters, snapshots, _ = _HEAD.unpack_from(head)
    features, order = 0, 4
    if version >= 3:
        if len(head) < _V3_LENGTH:
            raise BuildError("is a qcow2 that ends in its header", where=where, hint=_HINT)
        features, _, _, order, _ = _MORE.unpack_from(head, _V2_LENGTH)
    return _Header(version, name, bits, size, encryption, entries, l1, refs, counters, snapshots, features, order)
