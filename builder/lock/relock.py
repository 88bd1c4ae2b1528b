"""Renew pimu.lock, in whole or for chosen names, and list the changes."""

from __future__ import annotations

import difflib
import hashlib
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from builder.errors import ConfigurationError
from builder.fetch import Cache, fetch
from builder.fetch.cache import sha256_of
from builder.fetch.upstream import request_of
from builder.host import tools
from builder.lock import apt
from builder.lock.lock_file import LOCK_FILE, locked, read_lock, write_lock
from builder.lock.resolve import deb_pins
from builder.model.layer import DPKG_STATUS, KEYRINGS
from builder.model.lock import REMEDY, Lock, LockedImage, Resolution
from builder.model.progress import Progress
from builder.model.sources import AptSource, PublishedFile
from builder.model.values import Sha256
from builder.store.products import Store

TOOLS = "tools"
"""The name for all programs of the build host."""


class _Request(BaseModel):
    """The parsed `request` of a resolution."""

    sources: tuple[AptSource, ...]
    architecture: str
    packages: tuple[str, ...]
    status: Sha256
    bootstrap: bool

    @classmethod
    def of(cls, resolution: Resolution) -> _Request:
        try:
            return cls.model_validate_json(resolution.request)
        except ValidationError as broken:
            raise ConfigurationError("is not a lock file (request)", where=LOCK_FILE, hint=REMEDY) from broken

    @property
    def is_on_a_base(self) -> bool:
        return self.status != _NO_STATUS


_NO_STATUS = hashlib.sha256(b"").hexdigest()
_LATER = "what the next build finds"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the locked thing `name`: the version of a package, an image, or the versions of a program. `old` or
    `new` is None if there was or is none."""

    name: str
    what: str
    old: str | None
    new: str | None

    def describe(self) -> str:
        return f"{self.name}: {self.what} {self.old or '-'} -> {self.new or '-'}"


@dataclass(frozen=True, slots=True)
class Relocker:
    """`images` has the published files that the profiles pin, by their names in the lock. `archives` has all archives
    that the profiles name."""

    path: Path
    cache: Cache
    store: Store
    progress: Progress
    images: Mapping[str, PublishedFile]
    archives: Sequence[AptSource]

    def upgrade(self, names: Collection[str] = ()) -> list[Change]:
        """Resolve everything locked again, or only `names`: locked things, packages, or `tools`.

        If a base changes, the packages that were resolved on it are removed from the lock, and the next build resolves
        them. A named file is removed too: a file has one fixed version. Entries that a build adds meanwhile stay.
        Raises ConfigurationError for an unknown name, DownloadError, BuildError.
        """
        old = read_lock(self.path)
        things, packages = _chosen(old, names)
        new = self._without_old_pins(old, things).without(*(things & old.files.keys()))
        for name, resolution in sorted(old.resolutions.items(), key=lambda item: _Request.of(item[1]).is_on_a_base):
            if name not in new.resolutions:
                continue  # its base has changed
            only = None if name in things else packages & {deb.name for deb in resolution.debs}
            if only is None or only:
                new = self._renewed(new, name, resolution, only)
        if TOOLS in things:
            new = new.with_tools(tools.shaping_tools())
        with locked(self.path):
            before = read_lock(self.path)
            after = before.with_changes(old, new)
            write_lock(self.path, after)
        return list(_changes(before, after, self.images))

    def _without_old_pins(self, lock: Lock, things: Collection[str]) -> Lock:
        """The lock without images that the profiles no longer pin, and without the packages on them."""
        pins = {name: request_of(source) for name, source in self.images.items()}
        for name, image in lock.images.items():
            if name in things and pins.get(name) != image.request:
                lock = lock.without(name, *_on_top(lock, name))
        return lock

    def _renewed(self, lock: Lock, name: str, resolution: Resolution, only: Collection[str] | None) -> Lock:
        request = _Request.of(resolution)
        layer = self._layer_below(request)
        if layer is None and request.is_on_a_base:
            if only is None:
                return lock.without(name)
            raise ConfigurationError(
                f"{', '.join(sorted(only))} cannot be renewed alone: what {name} is installed on is not in the cache",
                where=LOCK_FILE,
                hint=f"build once, or renew all of it: pimu-build lock --upgrade '{name}'",
            )
        found = self._resolve(name, resolution, layer, only)
        if found == resolution:
            return lock
        if only is None:
            lock = lock.without(*_on_top(lock, name))
        return lock.with_resolution(name, found)

    def _resolve(
        self, name: str, resolution: Resolution, layer: Path | None, only: Collection[str] | None
    ) -> Resolution:
        request = _Request.of(resolution)
        stays = [] if only is None else [deb for deb in resolution.debs if deb.name not in only]
        if stays:
            pins = [
                pin
                for pin, deb in zip(deb_pins(resolution, self.archives), resolution.debs, strict=True)
                if deb in stays
            ]
            fetch(pins, self.cache, self.progress)
            self.cache.require_whole(*(deb.sha256 for deb in stays))
        self.progress.step("resolve", f"{name}: ask the archive")
        with self.store.workspace() as work:
            found = apt.resolve(
                request=resolution.request,
                sources=request.sources,
                architecture=request.architecture,
                packages=request.packages,
                status=(layer / DPKG_STATUS).read_bytes() if layer else b"",
                work=work,
                bootstrap=request.bootstrap,
                keyrings={file.name: file for file in (layer / KEYRINGS).glob("*")} if layer else None,
                kept={deb: self.cache.path(deb.sha256) for deb in stays},
            )
        return resolution.followed_by(found) if stays else found

    def _layer_below(self, request: _Request) -> Path | None:
        """The layer in the cache with the dpkg status of the request, or None."""
        if not request.is_on_a_base:
            return None
        kinds = (self.store.root / kind for kind in ("layers", "imports"))
        layers = (file.parent for kind in kinds for file in kind.glob(f"*/{DPKG_STATUS}"))
        return next((layer for layer in layers if sha256_of(layer / DPKG_STATUS) == request.status), None)


def _on_top(lock: Lock, name: str) -> list[str]:
    """Names of the lock's package sets on the base `name`. `name` is the base's or that of its system."""
    return [other for other in lock.resolutions if other.startswith(f"{name} ") and " packages " in other]


def _chosen(lock: Lock, names: Collection[str]) -> tuple[set[str], set[str]]:
    """The locked things and the packages that `names` mean. The first words of a thing's name are enough. Raises
    ConfigurationError for an unknown name."""
    renewable = {*lock.resolutions, *lock.images, TOOLS}
    known = renewable | lock.files.keys()
    debs = {deb.name for resolution in lock.resolutions.values() for deb in resolution.debs}
    if not names:
        return renewable, set()
    things, packages = set(), set()
    for name in names:
        found = {thing for thing in known if thing == name or thing.startswith(f"{name} ")}
        if not found and name not in debs:
            close = difflib.get_close_matches(
                name, [*known, *(thing.rpartition(" ")[0] for thing in known), *debs], n=1
            )
            hint = f"did you mean {close[0]}?" if close else "`pimu-build lock` lists what is locked"
            raise ConfigurationError(f"{name} is neither locked nor a package of what is", where=LOCK_FILE, hint=hint)
        things |= found
        packages |= set() if found else {name}
    return things, packages


def _changes(old: Lock, new: Lock, images: Mapping[str, PublishedFile]) -> Iterator[Change]:
    for name in sorted(old.resolutions):
        before = {deb.name: deb.version for deb in old.resolutions[name].debs}
        if name not in new.resolutions:
            yield Change(name, "packages", f"{len(before)} locked", _LATER)
            continue
        after = {deb.name: deb.version for deb in new.resolutions[name].debs}
        for package in sorted(before.keys() | after.keys()):
            if before.get(package) != after.get(package):
                yield Change(name, package, before.get(package), after.get(package))
    for name in sorted(old.images.keys() - new.images.keys()):
        source = images.get(name)
        yield Change(name, "image", _called(old.images[name]), _called(source) if source else None)
    for name in sorted(old.files.keys() - new.files.keys()):
        file = old.files[name]
        yield Change(name, "file", f"{posixpath.basename(file.url)} (sha256 {file.sha256[:12]}...)", _LATER)
    for tool in sorted(new.tools):
        if old.tools.get(tool) != new.tools[tool]:
            yield Change(TOOLS, tool, ", ".join(old.tools.get(tool, ())) or None, ", ".join(new.tools[tool]))


def _called(image: LockedImage | PublishedFile) -> str:
    url = image.url if isinstance(image, LockedImage) else image.urls[0]
    return f"{posixpath.basename(url)} ({f'sha256 {image.sha256[:12]}...' if image.sha256 else 'by its signature'})"
