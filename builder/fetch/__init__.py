"""The one door to the network, and the cache of the files that came through it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder.errors import DownloadError
from builder.fetch.cache import Cache
from builder.fetch.pins import Pin
from builder.model.progress import Progress

__all__ = ["Cache", "Pin", "fetch", "fetch_new", "fetch_small"]


def fetch(pins: Iterable[Pin], cache: Cache, progress: Progress, *, offline: bool = False) -> None:
    """Bring all pins into the cache. Raises DownloadError: offline with something missing, or the download fails."""
    missing = {pin.sha256: pin for pin in pins if not cache.use(pin.sha256, pin.size)}
    if not missing:
        return
    for path in filter(Path.exists, map(cache.path, missing)):
        progress.step("cache", f"{path} is damaged: away with it, and anew")
    if offline:
        total, first = sum(pin.size or 0 for pin in missing.values()), next(iter(missing.values()))
        raise DownloadError(
            f"{len(missing)} files ({total >> 20} MiB) are not in the cache, the first is {first.url}",
            hint="run once without --offline",
        )
    # requests takes a tenth of a second to import, and most builds have all that they need.
    from builder.fetch.download import download  # noqa: PLC0415

    download(missing.values(), cache, progress)


def fetch_new(pin: Pin, cache: Cache, progress: Progress) -> str:
    """Bring a file whose hash nobody knows into the cache; its sha256, which proves nothing. Raises DownloadError."""
    from builder.fetch.download import download_new  # noqa: PLC0415  (as above)

    return download_new(pin, cache, progress)


def fetch_small(url: str, most: int) -> bytes:
    """A small file that nobody has pinned, such as a signature, of `most` bytes at most. Raises DownloadError."""
    from builder.fetch.download import fetch_small as fetched  # noqa: PLC0415  (as above)

    return fetched(url, most)
