"""The .debs of a build, from pimu.lock. If it has none, the archive's current ones are taken and locked."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import ConfigurationError, DownloadError
from builder.fetch import Cache, Pin, fetch
from builder.fetch.upstream import Named
from builder.lock import apt
from builder.lock.lock_file import locked, read_lock, write_lock
from builder.model.lock import Deb, Lock, LockedFile, LockedImage, Resolution, canonical
from builder.model.progress import Progress
from builder.model.sources import AptSource
from builder.store.products import Store

_REMEDY = "the package has left the mirror: `pimu-build lock --upgrade` takes its successor"


class Resolver:
    """The resolutions of one build. It is safe for threads. Each resolution is written into the lock at once."""

    def __init__(
        self, lock_path: Path, cache: Cache, store: Store, progress: Progress, *, offline: bool, locked: bool = False
    ) -> None:
        self.path, self._locked = lock_path, locked
        self._cache, self._store, self._progress, self.offline = cache, store, progress, offline
        self._writing = threading.Lock()
        self.lock = read_lock(lock_path)

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
        """The .debs of `name`, all in the cache. `keyrings` maps a keyring name that is no path on this host to a file.

        Raises DownloadError (offline and not locked, archive unreachable, .deb gone), BuildError (apt), and
        ConfigurationError when only locked things may be taken and `name` is not locked.
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
            before = self._before(name, request, sources)
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
                    kept={deb: self._cache.path(deb.sha256) for deb in before.debs} if before else None,
                )
            if before:
                resolution = before.followed_by(resolution)
        if resolution.removed:
            self._progress.step("resolve", f"{name}: {', '.join(resolution.removed)} must go for it")
        self.keep(name, resolution)
        fetch(deb_pins(resolution, sources), self._cache, self._progress, offline=self.offline)
        return resolution

    def published(self, wanted: Named, take: Callable[[], LockedImage]) -> LockedImage:
        """The locked published file, which is then in the cache. If it is not locked, `take` fetches and confirms it,
        and the caller locks it by `keep_image` once it has proved usable. Raises DownloadError."""
        locked = self.lock.get_image(wanted.name, wanted.request)
        if locked is None:
            self._refuse_news(wanted.name)
            return take()
        fetch([wanted.pin(locked.sha256, locked.size)], self._cache, self._progress, offline=self.offline)
        return locked

    def keep_image(self, name: str, image: LockedImage) -> None:
        with self._writing:
            if self.lock.images.get(name) != image:
                self._add_to_lock(lambda lock: lock.with_image(name, image))

    def file(self, name: str, request: str, pin: Callable[[], Pin]) -> LockedFile:
        """The locked published file, which is then in the cache. If it is not locked, the file that `pin` names is
        fetched and locked.

        Raises DownloadError.
        """
        locked = self.lock.get_file(name, request)
        if locked is None:
            self._refuse_news(name)
            if self.offline:
                raise DownloadError(f"{self.path.name} has no {name}", hint="run once without --offline to lock it")
        wanted = pin() if locked is None else Pin(locked.url, locked.sha256, locked.size)
        fetch([wanted], self._cache, self._progress, offline=self.offline)
        size = self._cache.path(wanted.sha256).stat().st_size
        file = LockedFile(request, wanted.url, wanted.sha256, size)
        with self._writing:
            if self.lock.files.get(name) != file:
                self._add_to_lock(lambda lock: lock.with_file(name, file))
        return file

    def _before(self, name: str, request: str, sources: Sequence[AptSource]) -> Resolution | None:
        """The previous resolution of these packages, so that a new base does not also upgrade everything on top of it.
        Its .debs are in the cache afterwards. None if there is none, or if a .deb can no longer be fetched."""
        found = self.lock.resolutions.get(name)
        if found is None or _without_status(found.request) != _without_status(request):
            return None
        try:
            fetch(deb_pins(found, sources), self._cache, self._progress)
        except DownloadError:
            return None
        return found

    def _refuse_news(self, name: str) -> None:
        if self._locked:
            raise ConfigurationError(
                f"has no answer for {name} as the profiles ask for it now",
                where=self.path.name,
                hint="build once without --locked, and look at what has changed",
            )

    def keep(self, name: str, resolution: Resolution) -> None:
        """Add a resolution to the lock file. Entries of other builds stay."""
        with self._writing:
            if self.lock.resolutions.get(name) != resolution:
                self._add_to_lock(lambda lock: lock.with_resolution(name, resolution))

    def require_tools(self, tools: Mapping[str, str]) -> None:
        """Warn about each program of the build host (`tools`: version by name) with a version that is not locked.

        With `locked`, raises ConfigurationError instead.
        """
        strangers = self.lock.strangers(tools)
        if not strangers:
            return
        known = {name: " or ".join(self.lock.tools[name]) for name in strangers}
        text = ", ".join(f"{name} {version} (locked: {known[name]})" for name, version in sorted(strangers.items()))
        if self._locked:
            raise ConfigurationError(
                f"was made with other versions of programs than this machine's: {text}",
                where=self.path.name,
                hint="build without --locked; if the image is the same, `pimu-build lock --upgrade tools` locks both",
            )
        self._progress.step("tools", f"the image may have other bytes than with those of {self.path.name}: {text}")

    def keep_tools(self, tools: Mapping[str, str]) -> None:
        """Lock the versions of programs that are not in the lock yet."""
        new = {name: version for name, version in tools.items() if name not in self.lock.tools}
        if new and not self._locked:
            with self._writing:
                self._add_to_lock(lambda lock: lock.with_tools(new))

    def _add_to_lock(self, add: Callable[[Lock], Lock]) -> None:
        with locked(self.path):
            self.lock = add(read_lock(self.path))
            write_lock(self.path, self.lock)


def _without_status(request: str) -> dict[str, Any]:
    try:
        return {key: value for key, value in json.loads(request).items() if key != "status"}
    except (ValueError, AttributeError):
        return {}


def deb_pins(resolution: Resolution, sources: Sequence[AptSource]) -> list[Pin]:
    """The pins of a resolution's .debs. If an archive no longer has a .deb, it is fetched from the snapshot archives
    that the sources name."""
    return [
        Pin(deb.url, deb.sha256, deb.size, _REMEDY, mirrors=tuple(dict.fromkeys(_snapshots(deb, resolution, sources))))
        for deb in resolution.debs
    ]


def _snapshots(deb: Deb, resolution: Resolution, sources: Sequence[AptSource]) -> Iterator[str]:
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(deb.epoch or resolution.epoch))
    for source in sources:
        if source.uri.rstrip("/") == deb.archive:
            yield from (f"{url.replace('{timestamp}', timestamp)}/{deb.path}" for url in source.snapshots)
