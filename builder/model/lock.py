"""pimu.lock: what was resolved, so that later builds fetch the same bytes. Written sorted, one package a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from builder.errors import ConfigurationError

VERSION = 1


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """A .deb of an archive: `{archive}/{path}` is its URL, `size` bytes, `sha256` in hexadecimal."""

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    sha256: str
    size: int

    @property
    def url(self) -> str:
        return f"{self.archive}/{self.path}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer to one `request` (canonical JSON). `epoch`: seconds, the newest Release file's date; `essential`:
    the names to be extracted before dpkg can work in an empty tree."""

    request: str
    epoch: int
    debs: tuple[Deb, ...]
    essential: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LockedImage:
    """A published image as it was taken: the file at `url`, and the raw image in it. `signed_by` is the fingerprint of
    the key whose signature was good, "" where the profile's own values were enough."""

    request: str
    url: str
    sha256: str
    size: int
    extracted_sha256: str
    extracted_size: int
    signed_by: str


@dataclass(frozen=True, slots=True)
class Lock:
    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    images: Mapping[str, LockedImage] = field(default_factory=dict)

    def get(self, name: str, request: str) -> Resolution | None:
        """The locked answer, unless the profiles have asked for something else since."""
        found = self.resolutions.get(name)
        return found if found is not None and found.request == request else None

    def with_resolution(self, name: str, resolution: Resolution) -> Lock:
        return Lock({**self.resolutions, name: resolution}, self.images)

    def get_image(self, name: str, request: str) -> LockedImage | None:
        found = self.images.get(name)
        return found if found is not None and found.request == request else None

    def with_image(self, name: str, image: LockedImage) -> Lock:
        return Lock(self.resolutions, {**self.images, name: image})


def canonical(value: object) -> str:
    """JSON with one spelling per value: what cache keys and the lock compare."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_text(lock: Lock) -> str:
    parts = []
    for name in sorted(lock.resolutions):
        resolution = lock.resolutions[name]
        debs = ",\n".join(f"        {canonical(asdict(deb))}" for deb in sorted(resolution.debs))
        parts.append(
            f"    {json.dumps(name)}: {{\n"
            f'      "request": {json.dumps(resolution.request)},\n'
            f'      "epoch": {resolution.epoch},\n'
            f'      "essential": {json.dumps(sorted(resolution.essential))},\n'
            f'      "debs": [\n{debs}\n      ]\n    }}'
        )
    images = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(asdict(lock.images[name]), indent=6, sort_keys=True)[:-1]}    }}"
        for name in sorted(lock.images)
    )
    body = ",\n".join(parts)
    return f'{{\n  "version": {VERSION},\n  "images": {{\n{images}\n  }},\n  "resolutions": {{\n{body}\n  }}\n}}\n'


def from_text(text: str, where: str) -> Lock:
    """Raises ConfigurationError when the text is not a lock of this version."""
    try:
        data: dict[str, Any] = json.loads(text)
        if data["version"] != VERSION:
            raise ConfigurationError(
                f"is a lock of version {data['version']}, not {VERSION}",
                where=where,
                hint="remove it; the next build writes it anew",
            )
        return Lock(
            {
                name: Resolution(
                    request=entry["request"],
                    epoch=int(entry["epoch"]),
                    debs=tuple(Deb(**deb) for deb in entry["debs"]),
                    essential=tuple(entry["essential"]),
                )
                for name, entry in data["resolutions"].items()
            },
            {name: LockedImage(**entry) for name, entry in data.get("images", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as broken:
        raise ConfigurationError(
            f"is not a lock file ({broken})", where=where, hint="remove it; the next build writes it anew"
        ) from broken
