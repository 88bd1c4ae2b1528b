"""The manifest beside an image: plan, lock and digests of what was made; what `verify` and `boot --check` go by.

It depends on the image and its inputs only: no clock, no host, no path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from builder.errors import ConfigurationError
from builder.model.edits import Volume
from builder.model.pending import Pending

VERSION = 1
CHUNK_SIZE = 4 * 1024**2
"""Bytes that one digest covers. A stamp of a few files hashes these chunks again, not the whole image."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def image_digest(chunks: Iterable[str]) -> str:
    """The address of an image: the sha256 over the sha256 digests (raw, 32 bytes each) of its chunks, in order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, chunks))).hexdigest()


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Extent = tuple[int, int]
"""Offset of the first byte, and of the first one after the last."""
Extents = tuple[Extent, ...]
"""Multiples of 4096, in order; none touches the next."""


class ImageFacts(_Value):
    """Size in bytes; the last chunk may be shorter than the others. `allocated` is what has to be on a disk.

    `recorded` is the digest that the image's own record on its boot volume gives: no file can hold the digest of an
    image that it is in, so it is that of the image with zeros in its place.
    """

    size: int
    chunk_size: int
    digest: Sha256
    recorded: Sha256 | None = None
    chunks: tuple[Sha256, ...]
    allocated: Extents


class DiskFacts(_Value):
    """Partitions 1 (FAT) and 2 (ext4) of the MBR in bytes, and the disk signature as `0x` and 8 digits."""

    boot_start: int
    boot_size: int
    root_start: int
    root_size: int
    disk_id: str = Field(pattern=r"^0x[0-9a-f]{8}$")


class FileState(_Value):
    """One path as it is after all edits. `mode` is the permission bits; FAT keeps neither mode nor owner.

    A file has sha256 and size, a link its target. `feature` asked for it, `origin` is the file of the project that
    set the value.
    """

    volume: Volume
    path: str
    type: Literal["file", "dir", "link", "absent"]
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    sha256: Sha256 | None = None
    size: int | None = None
    target: str | None = None
    feature: str
    origin: str


class Manifest(_Value):
    """`pending` are the secrets that the image lacks."""

    version: Literal[1] = 1
    node: str
    image: ImageFacts
    layout: DiskFacts
    files: tuple[FileState, ...]
    pending: tuple[Pending, ...] = ()
    plan: dict[str, Any]
    lock: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(self.model_dump(exclude_none=True), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Raises ConfigurationError when the text is not a manifest of this version."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as broken:
            first = broken.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ConfigurationError(
                f"is not a manifest of this version: {key} {first['msg']}".replace("  ", " "),
                where=where,
                hint="build the image again",
            ) from broken
