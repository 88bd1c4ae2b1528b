"""Which .debs a build takes: what pimu.lock says, else what the archive offers now, which is then locked."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from builder import apt
from builder.errors import ConfigurationError, DownloadError
from builder.images import Importer, pin_of, request_of
from builder.locks import held
from builder.model.lock import Deb, Lock, LockedImage, Resolution, canonical, from_text, to_text
from builder.model.progress import Progress
from builder.model.settings import AptSource, ImageSource
from builder.room import told_when_full
from builder.sources import Cache, Pin, fetch
from builder.store import Store

LOCK_FILE = "pimu.lock"
_NO_STATUS = hashlib.sha256(b"").hexdigest()
_REMEDY = "the package has left the mirror: `pimu-build lock --upgrade` takes its successor"


class Resolver:
    """Answers for one build. Threads may ask at once; each answer is locked on disk as soon as it is known."""

    def __init__(
        self, lock_path: Path, cache: Cache, store: Store, progress: Progress, *, offline: bool, locked: bool = False
    ) -> None:
        self.path, self._locked = lock_path, locked
        self._cache, self._store, self._progress, self.offline = cache, store, progress, offline
        self._writing = threading.Lock()
        self.lock = _read(lock_path)
        self.used: dict[str, Resolution] = {}
        self.used_images: dict[str, LockedImage] = {}

    def resolve(
        self,
        name: str,
        *,
        sources: Sequence[AptSource],
        architecture: str,
        packages: Sequence[str],
        status: bytes = b"",
        bootstrap: bool,
        keyrings: Mapping[str, Path] | None = None,
    ) -> Resolution:
        """The .debs of `name`, all of them in the cache. `keyrings` has files for those that are no paths here.

        Raises DownloadError (offline with nothing locked, no archive, a .deb that is gone), BuildError (apt).
        """
        request = canonical(
            {
                "sources": [source.model_dump(exclude={"snapshots"}) for source in sources],
                "architecture": architecture,
                "packages": sorted(packages),
                "status": hashlib.sha256(status).hexdigest(),
                "bootstrap": bootstrap,
            }
        )
        resolution = self.lock.get(name, request)
        if resolution is None:
            self._refuse_news(name)
            if self.offline:
                raise DownloadError(
                    f"{self.path.name} has no answer for {name}", hint="run once without --offline to resolve it"
                )
            self._progress.step("resolve", f"{name}: ask the archive")
            with self._store.workspace() as work:
                resolution = apt.resolve(
                    request=request,
                    sources=sources,
                    architecture=architecture,
                    packages=packages,
                    status=status,
                    work=work,
                    bootstrap=bootstrap,
                    keyrings=keyrings,
                )
        self.keep(name, resolution)
        fetch(deb_pins(resolution, sources), self._cache, self._progress, offline=self.offline)
        return resolution

    def image(self, name: str, source: ImageSource, importer: Importer) -> LockedImage:
        """The published image of a base, in the cache: the locked one, else the one of the profile, which is then
        confirmed and locked. Raises DownloadError."""
        locked = self.lock.get_image(name, request_of(source))
        if locked is None:
            self._refuse_news(name)
            locked = importer.take(name, source)
        else:
            pin = replace(pin_of(name, source), size=locked.size)
            fetch([pin], self._cache, self._progress, offline=self.offline)
        with self._writing:
            self.used_images[name] = locked
            if self.lock.images.get(name) != locked:
                self._add_to_lock(lambda lock: lock.with_image(name, locked))
        return locked

    def _refuse_news(self, name: str) -> None:
        if self._locked:
            raise ConfigurationError(
                f"has no answer for {name} as the profiles ask for it now",
                where=self.path.name,
                hint="build once without --locked, and look at what has changed",
            )

    def keep(self, name: str, resolution: Resolution) -> None:
        """Remember what this build uses, and write it into the lock beside what others have found."""
        with self._writing:
            self.used[name] = resolution
            if self.lock.resolutions.get(name) != resolution:
                self._add_to_lock(lambda lock: lock.with_resolution(name, resolution))

    def _add_to_lock(self, add: Callable[[Lock], Lock]) -> None:
        with _locked(self.path):
            self.lock = add(_read(self.path))
            _write(self.path, self.lock)


def upgrade(lock_path: Path, store: Store, progress: Progress) -> list[str]:
    """Ask the archives anew for all that is locked. A line for each package that has changed.

    What was resolved on top of a base (a role's packages) is forgotten: the next build resolves it on the new base.
    """
    old = _read(lock_path)
    new = Lock({}, old.images)
    for name, locked in old.resolutions.items():
        request = json.loads(locked.request)
        if request["status"] != _NO_STATUS:
            continue
        progress.step("resolve", f"{name}: ask the archive")
        with store.workspace() as work:
            resolution = apt.resolve(
                request=locked.request,
                sources=[AptSource.model_validate(source) for source in request["sources"]],
                architecture=request["architecture"],
                packages=request["packages"],
                status=b"",
                work=work,
                bootstrap=request["bootstrap"],
            )
        new = new.with_resolution(name, resolution)
    with _locked(lock_path):
        _write(lock_path, new)
    return list(_differences(old, new))


def deb_pins(resolution: Resolution, sources: Sequence[AptSource]) -> list[Pin]:
    """What to fetch. A .deb that its archive has no longer is looked for where the sources say that old ones are."""
    return [
        Pin(deb.url, deb.sha256, deb.size, _REMEDY, mirrors=tuple(dict.fromkeys(_snapshots(deb, resolution, sources))))
        for deb in resolution.debs
    ]


def _snapshots(deb: Deb, resolution: Resolution, sources: Sequence[AptSource]) -> Iterator[str]:
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(resolution.epoch))
    for source in sources:
        if source.uri.rstrip("/") == deb.archive:
            yield from (f"{url.replace('{timestamp}', timestamp)}/{deb.path}" for url in source.snapshots)


def _differences(old: Lock, new: Lock) -> Iterator[str]:
    for name in sorted(old.resolutions):
        before = {deb.name: deb.version for deb in old.resolutions[name].debs}
        if name not in new.resolutions:
            yield f"{name}: to be resolved by the next build"
            continue
        after = {deb.name: deb.version for deb in new.resolutions[name].debs}
        for package in sorted(before.keys() | after.keys()):
            if before.get(package) != after.get(package):
                yield f"{name}: {package} {before.get(package, '-')} -> {after.get(package, '-')}"


def _locked(path: Path) -> AbstractContextManager[None]:
    """Two builds may have an answer for the same lock at once; none may be lost."""
    return held(path.with_name(f".{path.name}.lock"))


def _read(path: Path) -> Lock:
    return from_text(path.read_text(), path.name) if path.exists() else Lock()


def _write(path: Path, lock: Lock) -> None:
    fresh = path.with_name(f".{path.name}.new")  # one name: whoever holds the lock writes over what the killed left
    with told_when_full(path.parent, "make room there: what was resolved is to be written into the lock"):
        try:
            fresh.write_text(to_text(lock))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
