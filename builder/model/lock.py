"""pimu.lock: what was resolved, so that later builds fetch the same bytes. Written sorted, one package a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from builder.errors import ConfigurationError
from builder.model.values import Sha256

Count = Annotated[int, Field(ge=0)]
Time = Annotated[int, Field(ge=0, lt=1 << 33)]

VERSION = 1
REMEDY = "remove it; the next build writes it anew"


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """A .deb of an archive: `{archive}/{path}` is its URL, `size` bytes, `sha256` in hexadecimal. `epoch`: when the
    archive had it, in seconds; 0 where that is the resolution's time."""

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    sha256: Sha256
    size: Count
    epoch: Time = 0

    @property
    def url(self) -> str:
        return f"{self.archive}/{self.path}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer to one `request` (canonical JSON). `epoch`: seconds, the newest Release file's date when all of it was
    resolved; `essential`: the names to be extracted before dpkg can work in an empty tree."""

    request: str
    epoch: Time
    debs: tuple[Deb, ...]
    essential: tuple[str, ...] = ()

    def followed_by(self, newer: Resolution) -> Resolution:
        """`newer`, as of this one's time: what it has not changed bears the same times in an image."""
        known = set(self.debs)
        came = newer.epoch if newer.epoch != self.epoch else 0
        debs = tuple(deb if deb in known else replace(deb, epoch=came) for deb in newer.debs)
        return replace(newer, epoch=self.epoch, debs=debs)


@dataclass(frozen=True, slots=True)
class LockedImage:
    """A published file as it was taken: the one at `url`, and the raw image in it, which is itself where nothing is
    packed. `signed_by` is the fingerprint of the key whose signature was good, "" where the profile's own values were
    enough."""

    request: str
    url: str
    sha256: Sha256
    size: Count
    extracted_sha256: Sha256
    extracted_size: Count
    signed_by: str


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A published file as it was taken."""

    request: str
    url: str
    sha256: Sha256
    size: Count


Locked = TypeVar("Locked", Resolution, LockedImage, LockedFile)


@dataclass(frozen=True, slots=True)
class Lock:
    """`tools`: the versions of each program that is known to make the same bytes of all this."""

    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    images: Mapping[str, LockedImage] = field(default_factory=dict)
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, LockedFile] = field(default_factory=dict)

    def get(self, name: str, request: str) -> Resolution | None:
        """The locked answer, unless the profiles have asked for something else since."""
        return _answer(self.resolutions.get(name), request)

    def with_resolution(self, name: str, resolution: Resolution) -> Lock:
        return replace(self, resolutions={**self.resolutions, name: resolution})

    def without(self, *names: str) -> Lock:
        """Less what has these names: the next build asks for it anew."""
        return replace(
            self,
            resolutions={name: one for name, one in self.resolutions.items() if name not in names},
            images={name: one for name, one in self.images.items() if name not in names},
        )

    def get_image(self, name: str, request: str) -> LockedImage | None:
        return _answer(self.images.get(name), request)

    def with_image(self, name: str, image: LockedImage) -> Lock:
        return replace(self, images={**self.images, name: image})

    def get_file(self, name: str, request: str) -> LockedFile | None:
        return _answer(self.files.get(name), request)

    def with_file(self, name: str, file: LockedFile) -> Lock:
        return replace(self, files={**self.files, name: file})

    def strangers(self, tools: Mapping[str, str]) -> dict[str, str]:
        """Of programs and their versions those that are locked with other versions only."""
        return {name: version for name, version in tools.items() if version not in self.tools.get(name, (version,))}

    def with_tools(self, tools: Mapping[str, str]) -> Lock:
        added = {name: tuple(sorted({*self.tools.get(name, ()), version})) for name, version in tools.items()}
        return replace(self, tools={**self.tools, **added})


def _answer(found: Locked | None, request: str) -> Locked | None:
    return found if found is not None and found.request == request else None


def canonical(value: object) -> str:
    """JSON with one spelling per value: what cache keys and the lock compare."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def deb_data(deb: Deb) -> dict[str, Any]:
    data = asdict(deb)
    return data if deb.epoch else {key: value for key, value in data.items() if key != "epoch"}


def as_data(locked: Resolution | LockedImage | LockedFile) -> dict[str, Any]:
    """Plain data, in the words of the lock's text."""
    if not isinstance(locked, Resolution):
        return asdict(locked)
    return {**asdict(locked), "debs": [deb_data(deb) for deb in locked.debs]}


def of_data(data: Mapping[str, Any], where: str) -> Resolution | LockedImage | LockedFile:
    """What `as_data` made the data of. Raises ConfigurationError, at `where`."""
    kind: type[Resolution] | type[LockedImage] | type[LockedFile]
    kind = Resolution if "debs" in data else LockedImage if "extracted_sha256" in data else LockedFile
    try:
        locked: Resolution | LockedImage | LockedFile = TypeAdapter(kind).validate_python(data)
    except ValidationError as broken:
        first = broken.errors(include_url=False)[0]
        reason = f"is not of a lock of this version ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise ConfigurationError(reason, where=where, hint="build the image again") from broken
    return locked


def to_text(lock: Lock) -> str:
    parts = []
    for name in sorted(lock.resolutions):
        resolution = lock.resolutions[name]
        debs = ",\n".join(f"        {canonical(deb_data(deb))}" for deb in sorted(resolution.debs))
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
    files = ",\n".join(f"    {json.dumps(name)}: {canonical(asdict(lock.files[name]))}" for name in sorted(lock.files))
    tools = ",\n".join(f"    {json.dumps(name)}: {json.dumps(sorted(lock.tools[name]))}" for name in sorted(lock.tools))
    rooms = {"tools": tools, "files": files, "images": images, "resolutions": ",\n".join(parts)}
    body = ",\n".join(f'  "{room}": {{\n{text}\n  }}' for room, text in rooms.items())
    return f'{{\n  "version": {VERSION},\n{body}\n}}\n'


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    resolutions: dict[str, Resolution]
    images: dict[str, LockedImage] = {}
    tools: dict[str, tuple[str, ...]] = {}
    files: dict[str, LockedFile] = {}


def from_text(text: str, where: str) -> Lock:
    """Raises ConfigurationError when the text is not a lock of this version."""
    try:
        read = _Text.model_validate_json(text)
    except ValidationError as broken:
        first = broken.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if key == "version" and first["type"] != "missing":
            reason = f"is a lock of version {first['input']}, not {VERSION}"
        else:
            reason = f"is not a lock file ({f'{key}: ' if key else ''}{first['msg']})"
        raise ConfigurationError(reason, where=where, hint=REMEDY) from broken
    return Lock(read.resolutions, read.images, read.tools, read.files)
