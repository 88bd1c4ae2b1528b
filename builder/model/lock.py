"""pimu.lock: resolved packages and files, so that later builds fetch the same. Written sorted, one package a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from builder.errors import ConfigurationError
from builder.model.values import Package, Sha256, Url

Count = Annotated[int, Field(ge=0)]
Time = Annotated[int, Field(ge=0, lt=1 << 33)]

DebVersion = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+~:-]*$")]
DebArchitecture = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""deb-version(7), and the names of dpkg-architecture(1)."""
UrlPath = Annotated[str, Field(pattern=r"^[!-~]+$")]

VERSION = 2
"""Version 1 had each request as a text with JSON in it."""
REMEDY = "remove it; the next build writes it anew"


def _as_text(request: object) -> object:
    return request if isinstance(request, str) else canonical(request)


Request = Annotated[str, BeforeValidator(_as_text)]
"""A question to archives or publishers, in canonical JSON. In the lock's text it is an object."""


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """A .deb of an archive: `{archive}/{path}` is its URL, `size` bytes, `sha256` in hexadecimal. `epoch`: when the
    archive had it, in seconds; 0 where that is the resolution's time."""

    name: Package
    version: DebVersion
    architecture: DebArchitecture
    archive: Url
    path: UrlPath
    sha256: Sha256
    size: Count
    epoch: Time = 0

    @property
    def url(self) -> str:
        return f"{self.archive}/{self.path}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer to one `request`. `epoch`: seconds, the newest Release file's date when all of it was
    resolved; `essential`: the names to be extracted before dpkg can work in an empty tree; `removed`: the names of
    installed packages that cannot be beside these, and go before they come."""

    request: Request
    epoch: Time
    debs: tuple[Deb, ...]
    essential: tuple[str, ...] = ()
    removed: tuple[Package, ...] = ()

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

    request: Request
    url: Url
    sha256: Sha256
    size: Count
    extracted_sha256: Sha256
    extracted_size: Count
    signed_by: str


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A published file as it was taken."""

    request: Request
    url: Url
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
        """The lock without the entries of these names: the next build asks for them anew."""
        return replace(
            self,
            resolutions={name: one for name, one in self.resolutions.items() if name not in names},
            images={name: one for name, one in self.images.items() if name not in names},
            files={name: one for name, one in self.files.items() if name not in names},
        )

    def with_changes(self, old: Lock, new: Lock) -> Lock:
        """This lock with what has changed from `old` to `new`, where it is as `old` is: who has locked something else
        meanwhile knows better. Versions of tools are added up."""
        tools = {
            name: tuple(sorted({*self.tools.get(name, ()), *new.tools.get(name, ())}))
            for name in {**self.tools, **new.tools}
        }
        return Lock(
            _rebased(self.resolutions, old.resolutions, new.resolutions),
            _rebased(self.images, old.images, new.images),
            tools,
            _rebased(self.files, old.files, new.files),
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
        """The programs, with their versions, that are locked with other versions only."""
        return {name: version for name, version in tools.items() if version not in self.tools.get(name, (version,))}

    def with_tools(self, tools: Mapping[str, str]) -> Lock:
        added = {name: tuple(sorted({*self.tools.get(name, ()), version})) for name, version in tools.items()}
        return replace(self, tools={**self.tools, **added})


def _rebased(here: Mapping[str, Locked], old: Mapping[str, Locked], new: Mapping[str, Locked]) -> dict[str, Locked]:
    ours = {name for name in {**here, **old, **new} if here.get(name) == old.get(name)}
    return {name: one for name, one in here.items() if name not in ours} | {
        name: one for name, one in new.items() if name in ours
    }


def _answer(found: Locked | None, request: str) -> Locked | None:
    return found if found is not None and found.request == request else None


def canonical(value: object) -> str:
    """JSON with one spelling per value: cache keys and the lock are compared by it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def deb_data(deb: Deb) -> dict[str, Any]:
    data = asdict(deb)
    return data if deb.epoch else {key: value for key, value in data.items() if key != "epoch"}


def as_data(locked: Resolution | LockedImage | LockedFile) -> dict[str, Any]:
    """Plain data, in the words of the lock's text."""
    if not isinstance(locked, Resolution):
        return asdict(locked)
    data = {**asdict(locked), "debs": [deb_data(deb) for deb in locked.debs]}
    return data if locked.removed else {key: value for key, value in data.items() if key != "removed"}


def of_data(data: Mapping[str, Any], where: str) -> Resolution | LockedImage | LockedFile:
    """The inverse of `as_data`. Raises ConfigurationError, at `where`, for other data."""
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
            f'      "request": {_indented(_object(resolution.request), 6)},\n'
            f'      "epoch": {resolution.epoch},\n'
            f'      "essential": {json.dumps(sorted(resolution.essential))},\n'
            + (f'      "removed": {json.dumps(sorted(resolution.removed))},\n' if resolution.removed else "")
            + f'      "debs": [\n{debs}\n      ]\n    }}'
        )
    images = ",\n".join(
        f"    {json.dumps(name)}: {_indented(_with_object(lock.images[name]), 4)}" for name in sorted(lock.images)
    )
    files = ",\n".join(
        f"    {json.dumps(name)}: {canonical(_with_object(lock.files[name]))}" for name in sorted(lock.files)
    )
    tools = ",\n".join(f"    {json.dumps(name)}: {json.dumps(sorted(lock.tools[name]))}" for name in sorted(lock.tools))
    rooms = {"tools": tools, "files": files, "images": images, "resolutions": ",\n".join(parts)}
    body = ",\n".join(f'  "{room}": {{\n{text}\n  }}' for room, text in rooms.items())
    return f'{{\n  "version": {VERSION},\n{body}\n}}\n'


def _indented(data: object, columns: int) -> str:
    """JSON whose lines after the first are indented by so many columns."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False).replace("\n", "\n" + " " * columns)


def _with_object(locked: LockedImage | LockedFile) -> dict[str, Any]:
    return {**asdict(locked), "request": _object(locked.request)}


def _object(request: str) -> object:
    """As an object where it is one in canonical JSON: only then it comes back as the same text."""
    try:
        data = json.loads(request)
    except ValueError:
        return request
    return data if isinstance(data, dict) and canonical(data) == request else request


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1, 2]
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
