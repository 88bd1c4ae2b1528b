"""Fetch pinned files: several at once, retried, hashed while they come, and put into the cache by rename."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import requests

from builder import __version__
from builder.errors import DiskFullError, DownloadError
from builder.locks import held
from builder.model.progress import Advance, Progress
from builder.run import stopping
from builder.sources.cache import CHUNK, Cache
from builder.sources.pins import Pin

_CONNECTIONS = 6
_ATTEMPTS = 5
_TIMEOUT = (20, 60)
_PAUSE = 1.0  # seconds, doubled before each further attempt
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_RETRIED = {408, 425, 429, 500, 502, 503, 504}


class _RetryError(Exception):
    """An attempt that failed for a reason that may pass."""


def download(pins: Collection[Pin], cache: Cache, progress: Progress) -> None:
    """Bring pins that the cache has not into it.

    Raises DownloadError: gone from the server, not what its pin says, or unreachable.
    """
    total = sum(pin.size for pin in pins)
    cache.files.mkdir(parents=True, exist_ok=True)
    progress.step("fetch", f"{len(pins)} files, {total / 1e6:.0f} MB")
    with progress.bar("fetch", total=total) as advance, ThreadPoolExecutor(_CONNECTIONS) as pool, _session() as session:
        stop = threading.Event()
        futures = [pool.submit(_fetch_one, session, pin, cache, advance, stop) for pin in pins]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _session() -> requests.Session:
    session = requests.Session()
    # Content coding would change the bytes that are hashed and counted.
    session.headers.update({"User-Agent": f"pimu-build/{__version__}", "Accept-Encoding": "identity"})
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def _fetch_one(session: requests.Session, pin: Pin, cache: Cache, advance: Advance, stop: threading.Event) -> None:
    target = cache.path(pin.sha256)
    with held(target.with_suffix(".lock")):
        if cache.holds(pin.sha256, pin.size):
            advance(pin.size)
            return
        part = target.with_suffix(".part")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _receive(session, pin, part, advance, stop)
                break
            except _RetryError as reason:
                if attempt == _ATTEMPTS:
                    raise DownloadError(
                        f"{reason} ({_ATTEMPTS} attempts)", where=pin.url, hint="check the network, or try later"
                    ) from reason
                pause = _PAUSE * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311  (jitter)
                if stopping.is_set() or stop.wait(pause):
                    raise DownloadError("stopped", where=pin.url) from reason
        part.rename(target)
        target.with_suffix(".lock").unlink(missing_ok=True)


def _receive(session: requests.Session, pin: Pin, part: Path, advance: Advance, stop: threading.Event) -> None:
    digest, received = hashlib.sha256(), 0
    try:
        with session.get(pin.url, stream=True, timeout=_TIMEOUT) as response:
            _refuse_status(response, pin, stop)
            with part.open("wb") as file:
                while chunk := response.raw.read(CHUNK):
                    if stop.is_set() or stopping.is_set():
                        raise DownloadError("stopped", where=pin.url)
                    received += len(chunk)
                    if received > pin.size:
                        raise DownloadError(f"is larger than the {pin.size} bytes of its pin", where=pin.url)
                    digest.update(chunk)
                    file.write(chunk)
                    advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())
    except (requests.RequestException, OSError) as broken:
        if isinstance(broken, OSError) and broken.errno in _NO_ROOM:
            raise DiskFullError(
                "no room for the download", where=str(part), hint="make room, or set PIMU_CACHE"
            ) from broken
        if isinstance(broken, OSError) and not isinstance(broken, requests.RequestException) and broken.filename:
            raise
        advance(-received)
        raise _RetryError(f"{type(broken).__name__}: {broken}") from broken
    except Exception as broken:
        if type(broken).__module__.startswith("urllib3"):
            advance(-received)
            raise _RetryError(f"{type(broken).__name__}: {broken}") from broken
        raise
    if received < pin.size:
        advance(-received)
        raise _RetryError(f"ended after {received} of {pin.size} bytes")
    if digest.hexdigest() != pin.sha256:
        part.unlink()
        raise DownloadError(
            f"has sha256 {digest.hexdigest()}, its pin says {pin.sha256}", where=pin.url, hint=pin.remedy
        )


def _refuse_status(response: requests.Response, pin: Pin, stop: threading.Event) -> None:
    if response.status_code == 200:
        return
    if response.status_code in _RETRIED:
        wait = response.headers.get("Retry-After", "")
        if wait.isdigit():
            stop.wait(min(int(wait), 60))
        raise _RetryError(f"the server answers {response.status_code}")
    raise DownloadError(f"the server answers {response.status_code}", where=pin.url, hint=pin.remedy)
