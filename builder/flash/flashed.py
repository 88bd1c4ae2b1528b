"""output/flashed.jsonl: a line for each flash, by which `flash` notices two disks of one node. It holds no secret."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from builder import limits
from builder.errors import ConfigurationError
from builder.model.disks import Identity, printable
from builder.model.manifest import Manifest

NAME = "flashed.jsonl"
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Flashed(BaseModel):
    """A flash. `date` is UTC in the form of RFC 3339. `image` is the digest of the image in the manifest. `serial`
    identifies the disk: its serial number, WWN, or size. `size` is in bytes."""

    model_config = ConfigDict(frozen=True)

    date: str
    cluster: str
    node: str
    image: str
    serial: str
    model: str
    size: int


def entry(manifest: Manifest, disk: Identity) -> Flashed:
    return Flashed(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        cluster=manifest.cluster,
        node=manifest.node,
        image=manifest.image.digest,
        serial=disk.password,
        model=disk.model,
        size=disk.size,
    )


def others(folder: Path, manifest: Manifest, disk: Identity) -> list[Flashed]:
    """The last flash of this node onto each other disk. Raises ConfigurationError when the list is not a regular
    file."""
    wanted = (manifest.cluster, manifest.node)
    last = {one.serial: one for one in _entries(folder) if (one.cluster, one.node) == wanted}
    return [one for serial, one in last.items() if serial != disk.password]


def append(folder: Path, flashed: Flashed) -> None:
    """Add a line. Raises ConfigurationError when the list is not a regular file, OSError when it cannot be written."""
    descriptor = _opened(folder / NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        is_cut_off = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        file.write(b"\n" * is_cut_off + flashed.model_dump_json().encode() + b"\n")


def _entries(folder: Path) -> Iterator[Flashed]:
    """The entries of the list. A line that cannot be parsed is skipped: a power cut may have left half a line."""
    try:
        descriptor = _opened(folder / NAME, os.O_RDONLY)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limits.FLASHED))
        lines = file.read(limits.FLASHED).splitlines()
    for line in lines:
        try:
            found = Flashed.model_validate_json(line)
        except ValidationError:
            continue
        yield found.model_copy(update={name: printable(getattr(found, name)) for name in ("date", "serial", "model")})


def _opened(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | _FLAGS, 0o644)
    except FileNotFoundError:
        raise
    except OSError as refused:
        raise _none_of_ours(path, refused.strerror) from refused
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _none_of_ours(path, "not a regular file")
    return descriptor


def _none_of_ours(path: Path, reason: str | None) -> ConfigurationError:
    said = f"cannot be opened as the list of flashed disks: {reason}"
    return ConfigurationError(said, where=str(path), hint="move it away")
