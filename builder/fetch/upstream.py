"""Published files, base images as guests' ISOs and disks: fetched, confirmed by their publisher, known to the lock."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from pathlib import Path

from builder.errors import DownloadError
from builder.fetch import Cache, Pin, fetch, fetch_new, fetch_small
from builder.fetch.cache import sha256_of
from builder.fetch.signatures import check_signature
from builder.limits import SMALL_DOWNLOAD
from builder.model.lock import LockedImage, canonical
from builder.model.progress import Progress
from builder.model.sources import ImageSource, PublishedFile
from builder.model.values import ARMOR


@dataclass(frozen=True, slots=True)
class Named:
    """A published file and its name in the lock (`raspios-trixie`, `guest alpine`). `profile` is the file that pins
    it, `instead` names a base or guest that can be built without it."""

    name: str
    source: PublishedFile
    profile: str
    instead: str

    @property
    def request(self) -> str:
        """The request of a lock's entry: another pin is another request."""
        return request_of(self.source)

    def pin(self, sha256: str | None = None, size: int | None = None) -> Pin:
        """The profile's values, unless the lock knows better."""
        remedy = f"correct the pin in {self.profile}; {self.instead}"
        url, *mirrors = self.source.urls
        known = sha256 or self.source.sha256 or ""
        return Pin(url, known, size or self.source.size, remedy, self.instead, tuple(mirrors))


def request_of(source: PublishedFile) -> str:
    return canonical({"urls": list(source.urls), "sha256": source.sha256, "signer": source.signer.fingerprint})


@dataclass(frozen=True, slots=True)
class Taken:
    """A file of the cache. `signed_by`: the key whose signature was good, "" where none was asked for."""

    file: Path
    sha256: str
    signed_by: str


def take(wanted: Named, cache: Cache, progress: Progress, *, offline: bool) -> Taken:
    """Fetch the file for the first time, and ask its publisher about what the profile has second-hand or not at all.

    Raises DownloadError: not to be had, another file than its pin's, or not signed by the pinned key.
    """
    source, url = wanted.source, wanted.source.urls[0]
    if source.sha256 is not None:
        fetch([wanted.pin()], cache, progress, offline=offline)
        cache.require_whole(source.sha256)
    if source.unconfirmed and offline:
        raise DownloadError("nobody can be asked about it", where=url, hint="run once without --offline")
    sha256 = source.sha256 or fetch_new(wanted.pin(), cache, progress)
    file = cache.path(sha256)
    if not source.unconfirmed:
        return Taken(file, sha256, "")
    progress.step("confirm", f"{posixpath.basename(url)}: checksum and signature of its publisher")
    _confirm(source, file, url)
    return Taken(file, sha256, source.signer.fingerprint)


def _confirm(source: PublishedFile, file: Path, url: str) -> None:
    kind = source.checksum.lstrip(".")
    where = f"{url}{source.checksum}"
    listed = fetch_small(where, SMALL_DOWNLOAD).decode(errors="replace").split()
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, kind).hexdigest()
    if found not in listed:
        said = listed[0] if listed else "nothing"
        raise DownloadError(f"its publisher says {kind} {said}, the file has {found}", where=where)
    where = f"{url}{source.signature}"
    signature, key = _signature(where, sha256_of(file)), source.signer.key
    armored = key.encode() if key.startswith(ARMOR) else fetch_small(key, SMALL_DOWNLOAD)
    signer = source.signer
    check_signature(file, signature, armored, signer.fingerprint, where, accept_expired=signer.accept_expired)


def _signature(url: str, sha256: str) -> bytes:
    """A checksum from the server that has the file proves only that both came whole."""
    try:
        return fetch_small(url, SMALL_DOWNLOAD)
    except DownloadError as absent:
        raise DownloadError(
            f"{absent.message}: without the signature nothing confirms the file",
            where=url,
            hint=f"if somebody whom you trust says sha256 {sha256}, pin that in the profile, without `unconfirmed`",
        ) from absent


def named_base(name: str, source: ImageSource) -> Named:
    """The published image of a base."""
    instead = "--base debian-trixie needs no image, only a Debian mirror"
    return Named(name, source, f"profiles/bases/{name}.yaml", instead)


def named_guest(name: str, source: PublishedFile) -> Named:
    """The ISO or cloud image of a guest."""
    return Named(f"guest {name}", source, f"profiles/guests/{name}.yaml", "guest: debian needs only a Debian mirror")


def take_whole(wanted: Named, cache: Cache, progress: Progress, *, offline: bool) -> LockedImage:
    """`take` a file that is used as it is. Raises DownloadError."""
    taken = take(wanted, cache, progress, offline=offline)
    size = taken.file.stat().st_size
    return LockedImage(
        wanted.request, wanted.source.urls[0], taken.sha256, size, taken.sha256, size, signed_by=taken.signed_by
    )
