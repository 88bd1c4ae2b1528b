"""Parse texts of the kernel and of util-linux. Pure. A text that is not understood raises an error, and never gives an
empty list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from builder import limits
from builder.errors import BuildError
from builder.model.disks import BlockDevice, Sysfs, printable

COLUMNS = "NAME,MAJ:MIN,TYPE,SIZE,RO,RM,VENDOR,MODEL,SERIAL,TRAN,WWN,PTTYPE,FSTYPE,LABEL,UUID,MOUNTPOINTS,LOG-SEC"
_TRUTH = {True: True, False: False, "1": True, "0": False, "true": True, "false": False}


def lsblk(text: str, sysfs: Callable[[str], Sysfs]) -> tuple[BlockDevice, ...]:
    """The trees of `lsblk --json --bytes --paths --tree`. `sysfs` returns the Sysfs of a device number.

    Versions of util-linux write numbers and booleans as such or as strings, and older ones `mountpoint` instead of
    `mountpoints`. Raises BuildError for anything else.
    """
    try:
        rows = json.loads(text, strict=False)["blockdevices"]
        return tuple(_device(row, sysfs, 0) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError) as strange:
        said = f"{type(strange).__name__}: {strange}"
        raise BuildError(f"lsblk's answer is not understood ({said}), so no disk is known to be safe") from strange


def _device(row: dict[str, Any], sysfs: Callable[[str], Sysfs], depth: int) -> BlockDevice:
    if depth > limits.DEVICE_LEVELS:
        raise ValueError(f"devices on devices, {depth} deep")
    number = row["maj:min"].strip()
    if not re.fullmatch(r"\d+:\d+", number):
        raise ValueError(f"maj:min is {number!r}")
    if not row["type"]:
        raise ValueError(f"{row['name']} has no type")
    mountpoints = row["mountpoints"] if "mountpoints" in row else [row["mountpoint"]]
    return BlockDevice(
        path=printable(row["name"]),
        number=number,
        type=row["type"],
        size=int(row["size"] or 0),
        read_only=_TRUTH[row["ro"]],
        removable=_TRUTH[row["rm"]],
        vendor=_text(row.get("vendor")),
        model=_text(row.get("model")),
        serial=_text(row["serial"]),
        transport=_text(row["tran"]),
        wwn=_text(row.get("wwn")),
        table=_text(row["pttype"]),
        filesystem=_text(row["fstype"]),
        label=_text(row.get("label")),
        uuid=_text(row["uuid"]),
        sector=int(row.get("log-sec") or 512),
        mountpoints=tuple(printable(mountpoint) for mountpoint in mountpoints if mountpoint),
        children=tuple(_device(child, sysfs, depth + 1) for child in row.get("children") or ()),
        sysfs=sysfs(number),
    )


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))


@dataclass(frozen=True, slots=True)
class MountLine:
    """A line of /proc/PID/mountinfo. For btrfs, zfs, overlay and others, no block device has `number`."""

    id: int
    number: str
    target: str
    filesystem: str
    source: str


def mountinfo(text: str) -> Iterator[MountLine]:
    """The lines of mountinfo. Raises BuildError for a line that does not follow proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 2:
            raise BuildError(f"mountinfo has a line that is not understood: {printable(line)}")
        yield MountLine(int(fields[0]), fields[2], unescape(fields[4]), kind[0], unescape(kind[1]))


def swaps(text: str) -> tuple[str, ...]:
    """The paths in /proc/swaps: devices and files."""
    return tuple(unescape(line.split()[0]) for line in text.splitlines()[1:] if line.strip())


def unescape(text: str) -> str:
    r"""The text without the kernel's octal escapes, such as \040 for a blank."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
