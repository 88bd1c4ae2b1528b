"""The forms of a node's image in the output folder: NODE.img, NODE.img.zst, NODE.img.xz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from builder import limits
from builder.errors import ConfigurationError
from builder.fetch.unpacking import unpack
from builder.host.files import read_regular
from builder.model.manifest import ImageFacts, Manifest
from builder.model.progress import Progress
from builder.store.products import Store

Compression = Literal["zst", "xz"]
FORMS = (".img", *(f".img.{compression}" for compression in get_args(Compression)))


def manifest_of(image: Path) -> Manifest:
    """The manifest in the folder of an image of any form. Raises ConfigurationError."""
    return parsed(image, manifest_bytes(image))


def manifest_bytes(image: Path) -> bytes:
    """The content of the manifest's file, which may come from a stranger. Raises ConfigurationError when it is
    missing."""
    path = _manifest_path(image)
    if not path.exists():
        raise ConfigurationError("there is no manifest beside the image", where=str(path), hint="build the image again")
    return read_regular(path, limits.MANIFEST)


def parsed(image: Path, manifest: bytes) -> Manifest:
    """The parsed manifest of `image`. Raises ConfigurationError for a damaged or impossible one."""
    path = str(_manifest_path(image))
    try:
        return Manifest.from_json(manifest.decode(), path)
    except UnicodeDecodeError as broken:
        raise ConfigurationError("is not UTF-8 text", where=path) from broken


def _manifest_path(image: Path) -> Path:
    return image.with_name(re.sub(r"\.img(\.\w+)?$", "", image.name) + ".manifest.json")


@contextmanager
def raw(image: Path, facts: ImageFacts, store: Store, progress: Progress) -> Iterator[Path]:
    """The path of the raw image. A compressed image is unpacked, and the unpacked file exists while the context lasts.

    Raises DownloadError when the image is damaged, or has another size than in its manifest; DiskFullError.
    """
    if not is_compressed(image):
        yield image
        return
    with store.workspace() as work:
        unpacked = work / f"{image.name.partition('.')[0]}.img"
        unpack(image, unpacked, size=facts.size, sha256=None, where=str(image), progress=progress)
        yield unpacked


def is_compressed(image: Path) -> bool:
    return image.suffix.removeprefix(".") in get_args(Compression)
