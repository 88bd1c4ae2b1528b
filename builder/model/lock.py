"""pimu.lock: resolved packages and files, so that later builds fetch the same. It is sorted, with one package a
line."""

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
"""In version 1, each request was a JSON text inside a string."""
REMEDY = "remove it; the next build writes it anew"


def _as_text(request: object) -> object:
    return request if isinstance(request, str) else canonical(request)


Request = Annotated[str, BeforeValidator(_as_text)]
"""A request to archives or publishers, in canonical JSON. In the lock's text it is an object."""


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """A .deb of an archive. Its URL is `{archive}/{path}`; `size` is in bytes, `sha256` in hexadecimal. `epoch` is a
    time when the archive had it, in seconds since 1970; 0 means the `epoch` of the resolution."""

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
    """The answer to one `request`. `epoch` is the date of the newest Release file when everything was resolved, in
    seconds since 1970. `essential` are the packages to extract first: dpkg cannot work in an empty tree without them.
    `removed` are installed packages that conflict with `debs`; they are removed first."""

    request: Request
    epoch: Time
    debs: tuple[Deb, ...]
    essential: tuple[str, ...] = ()
    removed: tuple[Package, ...] = ()

    def followed_by(self, newer: Resolution) -> Resolution:
        """`newer` with the `epoch` of this resolution, so that files of unchanged packages keep their times in an
        image. New .debs get the newer epoch."""
        known = set(self.debs)
        came = newer.epoch if newer.epoch != self.epoch else 0
        debs = tuple(deb if deb in known else replace(deb, epoch=came) for deb in newer.debs)
        return replace(newer, epoch=self.epoch, debs=debs)


@dataclass(frozen=True, slots=True)
class LockedImage:
    """A published file that a build has taken from `url`. `extracted_*` are the facts of the raw image in it, or of the
    file itself if it is not compressed. `signed_by` is the fingerprint of the key with the good signature, or "" if the
    profile's own digest was enough."""

    request: Request
    url: Url
    sha256: Sha256
    size: Count
    extracted_sha256: Sha256
    extracted_size: Count
    signed_by: str


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A published file that a build has taken from `url`. `size` is in bytes."""

    request: Request
    url: Url
    sha256: Sha256
    size: Count


Locked = TypeVar("Locked", Resolution, LockedImage, LockedFile)


@dataclass(frozen=True, slots=True)
class Lock:
    """`tools` has the versions of each program of the build host that make the same bytes."""

    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    images: Mapping[str, LockedImage] = field(default_factory=dict)
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, LockedFile] = field(default_factory=dict)

    def get(self, name: str, request: str) -> Resolution | None:
        """The locked resolution, or None if there is none or its request differs."""
        return _answer(self.resolutions.get(name), request)

    def with_resolution(self, name: str, resolution: Resolution) -> Lock:
        return replace(self, resolutions={**self.resolutions, name: resolution})

    def without(self, *names: str) -> Lock:
        """The lock without the entries of these names. The next build resolves them again."""
        return replace(
            self,
            resolutions={name: one for name, one in self.resolutions.items() if name not in names},
            images={name: one for name, one in self.images.items() if name not in names},
            files={name: one for name, one in self.files.items() if name not in names},
        )

    def with_changes(self, old: Lock, new: Lock) -> Lock:
        """This lock with the changes from `old` to `new`. An entry that differs from `old` here stays: somebody has
        locked it meanwhile. The versions of tools are merged."""
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
        """The programs, with their versions, that the lock has only with other versions."""
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
    """JSON with one spelling per value. Cache keys and locked requests are compared in this form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def deb_data(deb: Deb) -> dict[str, Any]:
    data = asdict(deb)
    return data if deb.epoch else {key: value for key, value in data.items() if key != "epoch"}


def as_data(locked: Resolution | LockedImage | LockedFile) -> dict[str, Any]:
    """Plain data, with the keys of the lock's text."""
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
    """JSON. Its lines after the first are indented by `columns`."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False).replace("\n", "\n" + " " * columns)


def _with_object(locked: LockedImage | LockedFile) -> dict[str, Any]:
    return {**asdict(locked), "request": _object(locked.request)}


def _object(request: str) -> object:
    """The request as an object if it is canonical JSON, because only then reading the lock restores the same text. Else
    the text."""
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
