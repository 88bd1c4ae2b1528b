"""Fill the cache before a build: from the servers, or with files that the user has downloaded elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.errors import ConfigurationError, DownloadError
from builder.fetch import Cache, Pin, fetch
from builder.fetch.cache import sha256_of
from builder.fetch.upstream import Named, named_base, named_guest, take_whole
from builder.lock.lock_file import LOCK_FILE, read_lock
from builder.lock.resolve import Resolver, deb_pins
from builder.model.lock import Lock
from builder.model.progress import Progress
from builder.model.sources import ImageSource, PackagesSource, PublishedFile
from builder.project import Project
from builder.store.products import Store
from builder.store.upkeep import in_use


def prefetch(
    project: Project, root: Path, files: Sequence[Path], progress: Progress, *, base: str | None, guest: str | None
) -> list[str]:
    """Import `files` into the cache. Without `files`, fetch every file that pimu.lock names, the image of `base` (or of
    the project's default base), and the ISO or cloud image of `guest`; the latter is also confirmed and locked.

    Returns lines for the user. Raises DownloadError for a file that neither profiles nor the lock name, and
    ConfigurationError when there is nothing to fetch.
    """
    lock, cache = read_lock(project.root / LOCK_FILE), Cache(root)
    with in_use(root):
        debs = [pin for resolution in lock.resolutions.values() for pin in deb_pins(resolution, project.archives())]
        debs += [Pin(file.url, file.sha256, file.size) for file in lock.files.values()]
        pins = {wanted.name: _pin(wanted, lock) for wanted in _published(project)}
        if files:
            known = {pin.sha256: pin for pin in (*debs, *pins.values()) if pin.sha256}
            return [_take_in(file, known, cache, progress) for file in files]
        chosen = base or project.default_base
        wanted = [*debs, *(pin for name, pin in pins.items() if name == chosen)]
        if not wanted and guest is None:
            raise ConfigurationError(
                "nothing is locked yet, and the base is no image",
                where=LOCK_FILE,
                hint="the first build asks the archives which packages are needed, and locks them",
            )
        fetch(wanted, cache, progress)
        told = [f"{root}: {len(wanted)} files are there"] if wanted else []
        return told if guest is None else [*told, _take_guest(project, guest, cache, progress)]


def _take_guest(project: Project, name: str, cache: Cache, progress: Progress) -> str:
    source = project.guest(name).source
    if isinstance(source, PackagesSource):
        return f"guest {name}: is made of packages, which {LOCK_FILE} names"
    wanted = named_guest(name, source)
    resolver = Resolver(project.root / LOCK_FILE, cache, Store(cache.root), progress, offline=False)
    locked = resolver.published(wanted, lambda: take_whole(wanted, cache, progress, offline=False))
    resolver.keep_image(wanted.name, locked)
    return f"guest {name}: {locked.url}"


def _published(project: Project) -> Iterator[Named]:
    """The published files of all bases and guests."""
    for name in project.names("bases"):
        if isinstance(image := project.base(name).source, ImageSource):
            yield named_base(name, image)
    for name in project.names("guests"):
        if isinstance(source := project.guest(name).source, PublishedFile):
            yield named_guest(name, source)


def _pin(wanted: Named, lock: Lock) -> Pin:
    """The pin with the digest and the size from the lock, if it has them: the profile may lack them."""
    locked = lock.get_image(wanted.name, wanted.request)
    return wanted.pin() if locked is None else wanted.pin(locked.sha256, locked.size)


def _take_in(file: Path, known: dict[str, Pin], cache: Cache, progress: Progress) -> str:
    progress.step("import", f"{file}: hash")
    sha256 = sha256_of(file)
    if sha256 not in known:
        raise DownloadError(
            f"is nothing that profiles/ or {LOCK_FILE} name: its sha256 is {sha256}",
            where=str(file),
            hint="was it downloaded completely?",
        )
    cache.take_in(file, sha256)
    return f"{file}: {known[sha256].url}"
