"""The manifest beside an image: plan, lock and digests of what was made; what `verify` and `boot --check` go by.

It depends on the image and its inputs only: no clock, no host, no path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from builder import limits
from builder.errors import ConfigurationError
from builder.limits import MIB
from builder.model.edits import Volume
from builder.model.image_path import ImagePath
from builder.model.outside import Mode, Owner, Words
from builder.model.pending import Pending
from builder.model.strict_json import parse_json
from builder.model.values import LABEL, of_form

VERSION = 1
CHUNK_SIZE = 4 * MIB
"""Bytes that one digest covers. A stamp of a few files hashes these chunks again, not the whole image."""

SECTOR, BLOCK = 512, 4096

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


_Bytes = Annotated[int, Field(gt=0, le=limits.IMAGE)]


class ImageFacts(_Value):
    """Size in bytes; the last chunk may be shorter than the others. `allocated` is what has to be on a disk.

    `recorded` is the digest that the image's own record on its boot volume gives: no file can hold the digest of an
    image that it is in, so it is that of the image with zeros in its place.
    """

    size: _Bytes
    chunk_size: Annotated[int, Field(ge=CHUNK_SIZE, le=CHUNK_SIZE)]
    digest: Sha256
    recorded: Sha256 | None = None
    chunks: tuple[Sha256, ...]
    allocated: Extents


class DiskFacts(_Value):
    """Partitions 1 (FAT) and 2 (ext4) of the MBR in bytes, and the disk signature as `0x` and 8 digits."""

    boot_start: _Bytes
    boot_size: _Bytes
    root_start: _Bytes
    root_size: _Bytes
    disk_id: str = Field(pattern=r"^0x[0-9a-f]{8}$")


class FileState(_Value):
    """One path as it is after all edits. `mode` is the permission bits; FAT keeps neither mode nor owner.

    A file has sha256 and size, a link its target. `feature` asked for it, `origin` is the file of the project that
    set the value.
    """

    volume: Volume
    path: ImagePath
    type: Literal["file", "dir", "link", "absent"]
    mode: Mode | None = None
    uid: Owner | None = None
    gid: Owner | None = None
    sha256: Sha256 | None = None
    size: Annotated[int, Field(ge=0, le=limits.IMAGE)] | None = None
    target: Annotated[str, Field(max_length=limits.PATH)] | None = None
    feature: Words
    origin: Words


class Manifest(_Value):
    """`pending` are the secrets that the image lacks."""

    version: Literal[1] = 1
    node: Annotated[str, of_form(LABEL, "is not the name of a node")]
    image: ImageFacts
    layout: DiskFacts
    files: tuple[FileState, ...]
    pending: Annotated[tuple[Pending, ...], Field(max_length=limits.PENDING)] = ()
    plan: dict[str, Any]
    lock: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(self.model_dump(exclude_none=True), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def cluster(self) -> str:
        """The cluster's name, or nothing where the plan does not give it."""
        settings = self.plan.get("settings")
        name = settings.get("cluster") if isinstance(settings, dict) else None
        return name if isinstance(name, str) else ""

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """A manifest that may be a stranger's: of this version, and one that an image can have.

        Raises ConfigurationError, at `where`.
        """
        hint = "build the image again, or fetch it again with its manifest"
        try:
            made = cls.model_validate(parse_json(text, deepest=limits.JSON_LEVELS))
        except ValidationError as broken:
            first = broken.errors(include_url=False, include_input=False)[0]
            key = ".".join(map(str, first["loc"]))[: limits.QUOTED]
            fault = f"{key} {first['msg'].removeprefix('Value error, ')}".strip()
            raise ConfigurationError(f"is not a manifest of this version: {fault}", where=where, hint=hint) from broken
        except ValueError as broken:
            raise ConfigurationError(f"is not a manifest: {broken}", where=where, hint=hint) from broken
        if fault := next(impossible(made), ""):
            raise ConfigurationError(f"is the manifest of no image: {fault}", where=where, hint=hint)
        return made


def impossible(manifest: Manifest) -> Iterator[str]:
    """Contradictions of a manifest with itself, before a disk or a tool is told any of its numbers."""
    image = manifest.image
    yield from _wrong_image(image)
    yield from _wrong_layout(manifest.layout, image.size)
    paths = [(file.volume, file.path) for file in manifest.files]
    if len(set(paths)) < len(paths):
        yield "files names one path twice"
    places = [pending.target.casefold() for pending in manifest.pending]
    if len(set(places)) < len(places):
        yield "pending has two secrets for one place"
    if not isinstance(manifest.plan.get("settings", {}), dict):
        yield "plan.settings is no object"


def _wrong_image(image: ImageFacts) -> Iterator[str]:
    wanted = -(-image.size // CHUNK_SIZE)
    if image.size % SECTOR:
        yield f"image.size is {image.size}, and no number of sectors"
    if len(image.chunks) != wanted:
        yield f"image.chunks has {len(image.chunks)} digests, and {image.size} bytes are {wanted} chunks"
    before = -1
    for start, end in image.allocated:
        if not before < start < end <= image.size:
            yield f"image.allocated has {start}-{end}, out of order or out of the image's {image.size} bytes"
            return
        if start % BLOCK or (end % BLOCK and end != image.size):
            yield f"image.allocated has {start}-{end}, and no whole blocks of {BLOCK} bytes"
            return
        before = end


def _wrong_layout(layout: DiskFacts, size: int) -> Iterator[str]:
    boot_end, root_end = layout.boot_start + layout.boot_size, layout.root_start + layout.root_size
    if any(number % SECTOR for _, number in layout if isinstance(number, int)):
        yield "layout has a number that is no multiple of a sector"
    if boot_end > layout.root_start:
        yield f"layout has a boot volume that ends at {boot_end}, and a root volume that begins at {layout.root_start}"
    if root_end > size:
        yield f"layout has a root volume that ends at {root_end}, and the image ends at {size}"
