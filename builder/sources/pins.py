"""Files that are known before they come, and whether the cache has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.errors import DownloadError
from builder.model.progress import Progress
from builder.sources.cache import Cache


@dataclass(frozen=True, slots=True)
class Pin:
    """A file that is known before it comes. `remedy` is what the user can do when the server no longer has it."""

    url: str
    sha256: str
    size: int
    remedy: str = ""


def fetch(pins: Iterable[Pin], cache: Cache, progress: Progress, *, offline: bool = False) -> None:
    """Bring all pins into the cache. Raises DownloadError: offline with something missing, or the download fails."""
    missing = {pin.sha256: pin for pin in pins if not cache.holds(pin.sha256, pin.size)}
    if not missing:
        return
    if offline:
        total, first = sum(pin.size for pin in missing.values()), next(iter(missing.values()))
        raise DownloadError(
            f"{len(missing)} files ({total >> 20} MiB) are not in the cache, the first is {first.url}",
            hint="run once without --offline",
        )
    # requests takes a tenth of a second to import, and most builds have all that they need.
    from builder.sources.download import download  # noqa: PLC0415

    download(missing.values(), cache, progress)
