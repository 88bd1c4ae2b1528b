"""Fill the cache before a build needs it: from the servers, or with files that were downloaded elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from builder.cache import in_use
from builder.errors import ConfigurationError, DownloadError
from builder.images import pin_of, request_of
from builder.lock_file import LOCK_FILE, read_lock
from builder.model.lock import Lock
from builder.model.progress import Progress
from builder.model.sources import ImageSource
from builder.project import Project
from builder.resolve import deb_pins
from builder.sources import Cache, Pin, fetch
from builder.sources.cache import sha256_of


def prefetch(project: Project, root: Path, base: str | None, files: Sequence[Path], progress: Progress) -> list[str]:
    """Bring in `files`; without any, fetch all that pimu.lock names and the image of the base (else the cluster's).

    What was done, in lines. Raises DownloadError for a file that nothing here asks for.
    """
    lock, cache = read_lock(project.root / LOCK_FILE), Cache(root)
    with in_use(root):
        debs = [pin for resolution in lock.resolutions.values() for pin in deb_pins(resolution, project.archives())]
        debs += [Pin(file.url, file.sha256, file.size) for file in lock.files.values()]
        known = {pin.sha256: pin for pin in (*debs, *(pin for _, pin in _images(project, lock)))}
        if files:
            return [_take_in(file, known, cache, progress) for file in files]
        chosen = base or project.default_base
        wanted = [*debs, *(pin for name, pin in _images(project, lock) if name == chosen)]
        if not wanted:
            raise ConfigurationError(
                "nothing is locked yet, and the base is no image",
                where=LOCK_FILE,
                hint="the first build asks the archives which packages are needed, and locks them",
            )
        fetch(wanted, cache, progress)
    return [f"{root}: {len(wanted)} files are there"]


def _images(project: Project, lock: Lock) -> Iterator[tuple[str, Pin]]:
    """Of every base that is a published image; the lock knows more of it than the profile may."""
    for name in project.names("bases"):
        source = project.base(name).source
        if isinstance(source, ImageSource):
            locked = lock.get_image(name, request_of(source))
            pin = pin_of(name, source)
            yield name, pin if locked is None else replace(pin, size=locked.size)


def _take_in(file: Path, known: dict[str, Pin], cache: Cache, progress: Progress) -> str:
    progress.step("import", f"{file}: hash")
    sha256 = sha256_of(file)
    if sha256 not in known:
        raise DownloadError(
            f"is nothing that profiles/bases/ or {LOCK_FILE} name: its sha256 is {sha256}",
            where=str(file),
            hint="was it downloaded completely?",
        )
    cache.take_in(file, sha256)
    return f"{file}: {known[sha256].url}"
