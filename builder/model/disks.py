"""Block devices as the kernel shows them, and what `flash` has to know of a disk before it may write to it.

A device number is `major:minor`, as in /sys/dev/block: names may change hands, and paths may be links.
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

    `holders` are names of devices that stand on this one (`dm-0`), `backing_file` the file of a loop device.
    `virtual` devices have no hardware of their own: RAM, zram, nbd, zvols, all of device mapper, loops.
    `diskseq` is another one after each change of medium (Linux 5.15).
    """

    holders: tuple[str, ...] = ()
    virtual: bool = False
    backing_file: str = ""
    diskseq: int | None = None
    by_id: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A row of lsblk(8) and what stands on it. Sizes in bytes; a text that lsblk does not know is empty.

    `type` is lsblk's word: disk, part, lvm, crypt, raid1, mpath, rom, loop... `filesystem` may be that of a member of
    something larger (`LVM2_member`). `sector` is a logical sector's size in bytes: partition tables count in it.
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
        """This device and all that stands on it. What stands on several devices comes once for each."""
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
    """`devices` are the numbers of all that the filesystem is on: several for btrfs, none where there is no disk."""

    target: str
    filesystem: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Protected:
    """Something that this run reads or has made: `what` is its name in a sentence, `devices` where it is."""

    what: str
    path: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """All block devices at one moment. By device number, `swaps` is what /proc/swaps calls it, and `writers` are the
    processes that have it open for writing."""

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
    """A device of the command line: `path` as given, `number` (major:minor) when it leads to a block device."""

    path: str
    state: Literal["block", "absent", "other"]
    number: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a disk: two equal ones are the same disk, with the same medium. `size` in bytes."""

    number: str
    size: int
    serial: str
    wwn: str
    model: str
    by_id: tuple[str, ...]
    diskseq: int | None

    @property
    def password(self) -> str:
        """The word by which a script names the disk: its serial number, else its WWN, else its size in bytes."""
        return self.serial or self.wwn or str(self.size)

    @property
    def password_name(self) -> str:
        return "serial number" if self.serial else "WWN" if self.wwn else "size in bytes"

    @property
    def password_end(self) -> str:
        """The word that a person types: the last four characters, or a whole size, because sizes are alike at their
        end."""
        return self.password[-4:] if self.serial or self.wwn else self.password


RECORD = "pimu-id.json"
"""On the boot volume."""


class Record(BaseModel):
    """The record of a disk's owner: cluster, node and image (`recorded` in its manifest)."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    node: str
    image: str = ""

    @classmethod
    def from_json(cls, text: bytes) -> Self | None:
        """None when it is not such a record: then the disk is a stranger's."""
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
    """The content of a disk, by its own bytes: udev's database, which lsblk reads, may be absent or old.

    `signatures` are libblkid's words for its finds (`dos`, `ext4`, `crypto_LUKS`), `inside` those for the contents of
    partitions. `blank`: samples from all over the disk are empty. `extra_partitions` counts partitions that no disk of
    this project has. `guest_bytes` is the room of the guest's disk, None without one. `server_data` are the folders
    with the data of a k3s server, which no image has.
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
    """Why a disk is not written to; `text` goes on after "it "."""

    kind: Kind
    text: str


def printable(text: str) -> str:
    """A disk's name for itself is any text: control characters, and those that turn the line around, become `?`."""
    return "".join("?" if unicodedata.category(character)[0] == "C" else character for character in text).strip()
