"""Decide whether a disk may be overwritten: pure functions from the survey to reasons against it. A disk without a
reason may be overwritten.

For a new rule, add a disk to tests/disks/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from builder.model.disks import BlockDevice, Content, Identity, Kind, Protected, Reason, Survey, Target
from builder.model.manifest import Manifest

DEFAULT_MAX_SIZE = 1_100 * 1000**3
"""Bytes. SSDs for a Pi have up to 1 TB (1,024 GB at most). The next larger size is common for backup disks."""

BTRFS_OF_SEVERAL = "btrfs_member"
"""Our own word. libblkid does not tell a btrfs on several disks from one on a single disk."""
MEMBERS = {
    "LVM2_member": "an LVM volume group",
    "LVM1_member": "an LVM volume group",
    "linux_raid_member": "a Linux RAID",
    "isw_raid_member": "a firmware RAID",
    "ddf_raid_member": "a firmware RAID",
    "zfs_member": "a ZFS pool",
    "bcache": "a bcache set",
    "bcachefs": "a bcachefs, which may be on several disks",
    "ceph_bluestore": "a Ceph store",
    "drbd": "a DRBD resource",
    "mpath_member": "a multipath device",
    "stratis": "a Stratis pool",
    "VMFS_volume_member": "a VMFS volume",
    "MD_member": "a RAID",
    BTRFS_OF_SEVERAL: "a btrfs on several disks",
}
"""Filesystem types of libblkid for a disk that is a part of something larger. Overwriting it damages the whole."""

_SERVER_DATA = {"db": "database of the k3s cluster", "storage": "volumes of pods"}
_SECTOR = 512
_SYSTEM = re.compile(r"/|/(boot|efi|usr|var|home|etc|opt|root|srv|nix|gnu|run/live|run/initramfs|cdrom)(/.*)?")
_NETWORKS = frozenset({"iscsi", "fc", "fcoe", "rbd", "srp"})
_WRITABLE_TYPES = frozenset({"disk", "loop"})
_OUR_TABLE = "dos"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The image to be written: its size in bytes (0 without an image), its node, and the options that allow more.

    `expect_serial` is the serial number that a script gives; it is None if a person will be asked.
    """

    size: int = 0
    node: str = ""
    cluster: str = ""
    max_size: int = DEFAULT_MAX_SIZE
    overwrite_existing: bool = False
    expect_serial: str | None = None

    def of(self, manifest: Manifest) -> Wanted:
        """The same options for the image of this manifest."""
        return replace(self, size=manifest.image.size, node=manifest.node, cluster=manifest.cluster)


def refusals(survey: Survey, target: Target, wanted: Wanted, protected: Sequence[Protected] = ()) -> list[Reason]:
    """Reasons against the target, before it is opened. Options can override only the limit of its size."""
    if target.state == "absent":
        return [Reason("absent", "does not exist: `pimu-build list-disks` shows what there is")]
    if target.state == "other":
        return [Reason("not-a-device", "is not a block device")]
    device = survey.find(target.number)
    if device is None:
        return [Reason("unknown", "is not among the devices that lsblk lists, so nothing is known about it")]
    return [
        *_no_disk(survey, device),
        *_in_use(survey, device),
        *_carries(device, protected),
        *_part_of_more(survey, device),
        *_unfit(survey, device, wanted),
    ]


def content_refusals(device: BlockDevice, content: Content, wanted: Wanted) -> list[Reason]:
    """Reasons against overwriting the content of the disk, as read from its bytes. With `overwrite_existing` there are
    none.

    A person is asked before the data of a guest or a server are lost. For a script these data are a reason.
    """
    if wanted.overwrite_existing:
        return []
    record = content.record
    if record is None or content.extra_partitions or set(content.signatures) - {_OUR_TABLE}:
        found = holdings(device, content)
        return [Reason("foreign", f"holds {found}; --overwrite-existing gives all of it up")] if found else []
    reasons = []
    if (record.cluster, record.node) != (wanted.cluster, wanted.node):
        text = f"is the disk of {record.describe()}, not of {wanted.node}; --overwrite-existing gives that node up"
        reasons.append(Reason("other-node", text))
    if wanted.expect_serial is not None:
        kind: Kind = "guest-data" if content.guest_bytes is not None else "server-data"
        for text in node_data(content):
            reasons.append(Reason(kind, f"holds {record.node}'s {text}; --overwrite-existing gives it up"))
    return reasons


def node_data(content: Content) -> Iterator[str]:
    """Data of a node that no image restores, each to follow "the node's" in a sentence."""
    if content.guest_bytes is not None:
        yield f"guest with all its data ({content.guest_bytes} bytes)"
    for folder in content.server_data:
        yield f"{_SERVER_DATA[folder.rpartition('/')[2]]} ({folder})"


def member_refusals(content: Content) -> list[Reason]:
    """Reasons against a disk that is a part of something larger, as read from its bytes. No option overrides them."""
    found = [*((name, "it") for name in content.signatures), *((name, "a partition of it") for name in content.inside)]
    return [_member(name, on_it) for name, on_it in dict.fromkeys(found) if name in MEMBERS]


def holdings(device: BlockDevice, content: Content = Content()) -> str:  # noqa: B008  (frozen)
    """A description of a disk's content, to follow "holds" in a sentence; "" for a blank disk."""
    below = [node for node in device.tree() if node is not device]
    found = []
    if device.table or below:
        found.append(f"{_partitions(device)} ({device.table or 'table unknown'})")
    for node in (device, *below):
        if node.filesystem:
            label = f" {node.label!r}" if node.label else ""
            found.append(f"{node.filesystem}{label} on {node.path}")
    known = {device.table, *(node.filesystem for node in device.tree())}
    found += [name for name in content.signatures if name not in known]
    if not found and not content.blank:
        found.append("data of no kind that is known (encrypted?)")
    return ", ".join(dict.fromkeys(found))


def changed(shown: Identity, now: Identity) -> list[str]:
    """The differences between the disk that was shown and the open one; empty if they are the same."""
    names = {"number": "device number", "diskseq": "sequence number", "by_id": "names in /dev/disk/by-id"}
    return [
        f"its {names.get(field, field)} was {getattr(shown, field)}, and is {getattr(now, field)}"
        for field in Identity.__dataclass_fields__
        if getattr(shown, field) != getattr(now, field)
    ]


def _partitions(device: BlockDevice) -> str:
    count = sum(child.type == "part" for child in device.children)
    return f"{count} partition{'' if count == 1 else 's'}" if count else "a partition table"


def _no_disk(survey: Survey, device: BlockDevice) -> Iterator[Reason]:
    if device.type == "part":
        parent = survey.parent(device.number)
        whole = f" of {parent.path}" if parent else ""
        yield Reason("partition", f"is a partition{whole}; an image is a whole disk")
    elif device.type not in _WRITABLE_TYPES:
        yield Reason("not-a-disk", f"is a device of type {device.type}, not a whole disk")
    elif device.type == "disk" and device.sysfs.virtual:
        yield Reason("virtual", "is no hardware: memory, network or a volume of another disk")
    if device.transport in _NETWORKS:
        yield Reason("network", f"is reached by {device.transport}, and other machines may be using it")
    if device.type == "loop" and re.match("/dev/(?!shm/)", device.sysfs.backing_file):
        yield Reason("held", f"stands on {device.sysfs.backing_file}, which it would overwrite; name that")


def _in_use(survey: Survey, device: BlockDevice) -> Iterator[Reason]:
    """Reasons from the current use of the disk. Devices are compared by number: a name may be a link, or a prefix of
    another name."""
    seen = set()
    for node in device.tree():
        if node.number in seen:
            continue
        seen.add(node.number)
        on_it = node.path if node is not device else "it"
        targets = {mount.target for mount in survey.mounts if node.number in mount.devices}
        for mountpoint in sorted(targets | set(node.mountpoints) - {"[SWAP]"}):
            if _SYSTEM.fullmatch(mountpoint):
                yield Reason("system", f"is a disk of this system: {on_it} is mounted at {mountpoint}")
            else:
                yield Reason("mounted", f"is in use: {on_it} is mounted at {mountpoint}; unmount it first")
        if node.number in survey.swaps or "[SWAP]" in node.mountpoints:
            yield Reason("swap", f"is in use: {on_it} is active swap space; swapoff it first")
        for holder in node.sysfs.holders:
            yield Reason("held", f"is in use: {on_it} is held by {holder}")
        for loop in (other for disk in survey.disks for other in disk.tree() if other.sysfs.backing_file == node.path):
            yield Reason("held", f"is in use: {on_it} is held by {loop.path}")
        for process in survey.writers.get(node.number, ()):
            yield Reason("held", f"is in use: {on_it} is open in {process}")


def _carries(device: BlockDevice, protected: Sequence[Protected]) -> Iterator[Reason]:
    numbers = {node.number for node in device.tree()}
    for thing in protected:
        if numbers & set(thing.devices) or (device.sysfs.backing_file and device.sysfs.backing_file == thing.path):
            yield Reason("carries", f"carries {thing.what}: {thing.path}")


def _part_of_more(survey: Survey, device: BlockDevice) -> Iterator[Reason]:
    own = {node.number for node in device.tree()}
    for node in device.tree():
        on_it = node.path if node is not device else "it"
        if node.filesystem in MEMBERS:
            yield _member(node.filesystem, on_it)
        if node.filesystem == "btrfs" and node.uuid:
            others = (other for disk in survey.disks for other in disk.tree() if other.number not in own)
            for other in others:
                if other.uuid == node.uuid:
                    yield Reason("member", f"is a part of more: {other.path} belongs to the same btrfs as {on_it}")


def _member(filesystem: str, on_it: str) -> Reason:
    text = f"is a part of more: {on_it} belongs to {MEMBERS[filesystem]}; take it out of there, and `wipefs --all` it"
    return Reason("member", text)


def _unfit(survey: Survey, device: BlockDevice, wanted: Wanted) -> Iterator[Reason]:
    if device.size == 0:
        yield Reason("no-medium", "has no size: no medium is in it")
    elif device.size < wanted.size:
        yield Reason("too-small", f"has {device.size} bytes, and the image {wanted.size}")
    elif device.size > wanted.max_size:
        yield Reason(
            "too-large",
            f"has {device.size / 1000**3:.0f} GB, more than the SSD of a Pi: is it one for backups? "
            "If not, --max-size allows larger ones",
        )
    if device.read_only:
        yield Reason("read-only", "is read-only")
    if device.sector != _SECTOR:
        yield Reason(
            "sector-size",
            f"has logical sectors of {device.sector} bytes: the table of an image counts sectors of {_SECTOR}, and "
            "a Pi 4 boots from no other disk",
        )
    identity = device.identity
    if wanted.expect_serial not in (None, identity.password):
        text = f"is not the one that is expected: its {identity.password_name} is {identity.password}"
        yield Reason("unexpected", text)
    for other in survey.disks:
        if _twins(device, other):
            yield Reason("ambiguous", f"cannot be told from {other.path}, which has its serial number; unplug that one")


def _twins(device: BlockDevice, other: BlockDevice) -> bool:
    """Whether another usable disk has the same serial number, as with cheap USB bridges. The boot partitions of an eMMC
    (read-only) and the other slots of a card reader (empty) also share it, but are not usable."""
    same = device.serial and (device.serial, device.wwn) == (other.serial, other.wwn)
    return bool(same) and other.number != device.number and other.type == "disk" and _usable(other)


def _usable(device: BlockDevice) -> bool:
    return device.size > 0 and not device.read_only
