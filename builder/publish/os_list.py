"""The list by which Raspberry Pi Imager offers images: os_list.json (rpi-imager, doc/json-schema/os-list-schema.json).

`rpi-imager --repo URL` shows it. No entry has init_format, so that Imager offers no settings of its own for an image
that has all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from builder.model.manifest import Manifest

ICON = "icons/use_custom.png"
"""One that Imager brings along."""
_DEVICES = ["pi4-64bit"]
"""One tag for all Pis that a profile can be for: Pi 4 and Pi 400."""


@dataclass(frozen=True, slots=True)
class Download:
    """A node's image as it is offered. `file` is its name in the set, compressed or not, with its sha256 and size in
    bytes; `image_sha256` is the raw image's. `epoch` is the image's, in seconds."""

    manifest: Manifest
    epoch: int
    image_sha256: str
    file: str
    sha256: str
    size: int


def os_list(downloads: Iterable[Download], url: str, icon: str = ICON) -> bytes:
    """os_list.json of images that are found below `url`, the folder of the set; "" where it is not known yet, and then
    each is told by its name alone."""
    entries = [_entry(one, url, icon) for one in sorted(downloads, key=lambda one: one.manifest.node)]
    return (json.dumps({"os_list": entries}, indent=2, ensure_ascii=False) + "\n").encode()


def _entry(download: Download, url: str, icon: str) -> dict[str, Any]:
    manifest = download.manifest
    return {
        "name": manifest.node,
        "description": _description(manifest),
        "icon": icon,
        "url": f"{url.rstrip('/')}/{quote(download.file)}" if url else quote(download.file),
        "extract_size": manifest.image.size,
        "extract_sha256": download.image_sha256,
        "image_download_size": download.size,
        "image_download_sha256": download.sha256,
        "release_date": datetime.fromtimestamp(download.epoch, UTC).strftime("%Y-%m-%d"),
        "devices": _DEVICES,
        "architecture": "armv8",
    }


def _description(manifest: Manifest) -> str:
    """`worker of pimu: Debian 13 trixie arm64, and k3s-003, Debian 13 trixie amd64`."""
    settings, base, guest = (manifest.plan[key] for key in ("settings", "base", "guest"))
    pi = f"{settings['role']} of {settings['cluster']}: {base['summary']}"
    return pi if guest is None else f"{pi}, and {settings['guest_hostname']}, {guest['summary']}"
