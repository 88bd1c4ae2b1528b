"""Block devices as the kernel shows them, and the facts that `flash` needs about a disk before it writes to it.

A device is identified by its number `major:minor`, as in /sys/dev/block: a name can move to another device, and a path
can be a link.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError


@dataclass(frozen=True, slots=True)
class Sysfs:
    """Facts of /sys/dev/block/NUMBER that lsblk does not show.

    `holders` are names of devices on top of this one (`dm-0`). `backing_file` is the file of a loop device.
    `virtual` devices have no hardware of their own: RAM, zram, nbd, zvols, device mapper, loops.
    `diskseq` changes with each change of the medium (Linux 5.15).
    """

    holders: tuple[str, ...] = ()
    virtual: bool = False
    backing_file: str = ""
    diskseq: int | None = None
    by_id: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A row of lsblk(8) and the devices on top of it (`children`). Sizes are in bytes. A text that lsblk does not know
    is empty.

    `type` is lsblk's word: disk, part, lvm, crypt, raid1, mpath, rom, loop... `filesystem` may be the type of a member
    of something larger (`LVM2_member`). `sector` is the size of a logical sector in bytes, the unit of partition
    tables.
    """

    path: str
    number: str
    type: str
    size: int
    read_only: bool = False
    removable: bool = False
    vendor: str = ""
    model: str = ""
    serial: str = ""
    transport: str = ""
    wwn: str = ""
    table: str = ""
    filesystem: str = ""
    label: str = ""
    uuid: str = ""
    mountpoints: tuple[str, ...] = ()
    sector: int = 512
    children: tuple[BlockDevice, ...] = ()
    sysfs: Sysfs = Sysfs()

    def tree(self) -> Iterator[BlockDevice]:
        """This device and all devices on top of it. A device on top of several others comes once for each of them."""
        yield self
        for child in self.children:
            yield from child.tree()

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.vendor, self.model) if part)

    @property
    def identity(self) -> Identity:
        return Identity(self.number, self.size, self.serial, self.wwn, self.name, self.sysfs.by_id, self.sysfs.diskseq)


@dataclass(frozen=True, slots=True)
class Mount:
    """`devices` are the numbers of the filesystem's block devices: several for btrfs, none for a tmpfs."""

    target: str
    filesystem: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Protected:
    """A file or folder that this run reads or has made. `what` is its name in a sentence, `devices` are the numbers of
    the devices that hold it."""

    what: str
    path: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """All block devices at one moment. `swaps` has the names in /proc/swaps by device number. `writers` has the
    processes that have a device open for writing, by device number."""

    disks: tuple[BlockDevice, ...]
    mounts: tuple[Mount, ...] = ()
    swaps: Mapping[str, str] = field(default_factory=dict)
    writers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find(self, number: str) -> BlockDevice | None:
        return next((device for disk in self.disks for device in disk.tree() if device.number == number), None)

    def parent(self, number: str) -> BlockDevice | None:
        everything = (device for disk in self.disks for device in disk.tree())
        return next((device for device in everything if number in {child.number for child in device.children}), None)


@dataclass(frozen=True, slots=True)
class Target:
    """A device of the command line. `path` is as the user typed it. `number` is major:minor if it is a block device."""

    path: str
    state: Literal["block", "absent", "other"]
    number: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a disk. Two equal values mean the same disk with the same medium. `size` is in bytes."""

    number: str
    size: int
    serial: str
    wwn: str
    model: str
    by_id: tuple[str, ...]
    diskseq: int | None

    @property
    def password(self) -> str:
        """The word with which a script confirms the disk: its serial number, else its WWN, else its size in bytes."""
        return self.serial or self.wwn or str(self.size)

    @property
    def password_name(self) -> str:
        return "serial number" if self.serial else "WWN" if self.wwn else "size in bytes"

    @property
    def password_end(self) -> str:
        """The word that a person types to confirm the disk: its last four characters. A size is typed in full, because
        many sizes end alike."""
        return self.password[-4:] if self.serial or self.wwn else self.password


RECORD = "pimu-id.json"
"""Name of the record's file on the boot volume."""


class Record(BaseModel):
    """The record of a disk's owner: cluster, node and image (`recorded` in its manifest)."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    node: str
    image: str = ""

    @classmethod
    def from_json(cls, text: bytes) -> Self | None:
        """The record, or None when the text is none: then the disk does not belong to this project."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError:
            return None
        return cls(cluster=printable(found.cluster), node=printable(found.node), image=printable(found.image))

    def describe(self) -> str:
        image = f" (image {self.image[:12]})" if self.image else ""
        return f"node {self.node} of cluster {self.cluster}{image}"


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a disk, read from the disk itself: lsblk reads udev's database, which may be absent or old.

    `signatures` are libblkid's words for its finds (`dos`, `ext4`, `crypto_LUKS`), `inside` its words for the contents
    of partitions. `blank`: samples from all over the disk are empty. `extra_partitions` counts partitions that no disk
    of this project has. `guest_bytes` is the room that the guest's disk takes, or None without a guest's disk.
    `server_data` are folders with the data of a k3s server; no image has such data.
    """

    signatures: tuple[str, ...] = ()
    blank: bool = True
    record: Record | None = None
    extra_partitions: int = 0
    guest_bytes: int | None = None
    inside: tuple[str, ...] = ()
    server_data: tuple[str, ...] = ()


Kind = Literal[
    "absent", "not-a-device", "unknown", "partition", "not-a-disk", "virtual", "network", "no-medium", "read-only",
    "system", "mounted", "swap", "held", "member", "carries", "too-small", "too-large", "ambiguous",
    "unexpected", "foreign", "other-node", "guest-data", "server-data", "sector-size",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason against writing to a disk. `text` continues a sentence that begins with "it "."""

    kind: Kind
    text: str


def printable(text: str) -> str:
    """The text with `?` for control characters and for characters that change the direction of text. A disk may report
    any text as its name."""
    return "".join("?" if unicodedata.category(character)[0] == "C" else character for character in text).strip()
