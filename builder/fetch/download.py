"""Fetch pinned files: several at once, resumed, retried, hashed while they come, and put into the cache by rename."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError

import requests
import urllib3

from builder import __version__, limits
from builder.errors import DiskFullError, DownloadError
from builder.fetch.cache import Cache
from builder.fetch.pins import Pin
from builder.fetch.transfer import TIMEOUT, PartFile, PassingError, PermanentError, Transfer
from builder.host.file_lock import held
from builder.host.free_space import NO_ROOM
from builder.host.run import stopping
from builder.model.progress import Advance, Progress

_CONNECTIONS = 6
_PAUSE = 1.0  # seconds, doubled before each further attempt


def download(pins: Collection[Pin], cache: Cache, progress: Progress) -> None:
    """Bring pins that the cache has not into it.

    Raises DownloadError: gone from every server, different from its pin, or unreachable.
    """
    total = sum(pin.size or 0 for pin in pins)
    cache.files.mkdir(parents=True, exist_ok=True)
    progress.step("fetch", f"{len(pins)} files, {total / 1e6:.0f} MB" if total else next(iter(pins)).url)
    with progress.bar("fetch", total=total) as advance, ThreadPoolExecutor(_CONNECTIONS) as pool, session() as shared:
        stop = threading.Event()
        futures = [pool.submit(_fetch_one, shared, pin, cache, advance, stop) for pin in pins]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def session() -> requests.Session:
    made = requests.Session()
    # Content coding would change the bytes that are hashed and counted.
    made.headers.update({"User-Agent": f"pimu-build/{__version__}", "Accept-Encoding": "identity"})
    made.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    made.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return made


def _fetch_one(session: requests.Session, pin: Pin, cache: Cache, advance: Advance, stop: threading.Event) -> None:
    target = cache.path(pin.sha256)
    with held(target.with_suffix(".lock")):
        if cache.holds(pin.sha256, pin.size):
            advance(pin.size or 0)
            return
        part = PartFile(target.with_suffix(".part"))
        transfer = Transfer(session, pin, part, _position(advance), lambda: stop.is_set() or stopping.is_set())
        _complete(transfer, stop)
        part.path.rename(target)
        part.forget()
        target.with_suffix(".lock").unlink(missing_ok=True)


def download_new(pin: Pin, cache: Cache, progress: Progress) -> str:
    """Bring a file of unknown hash into the cache; its sha256. Raises DownloadError as `download` does."""
    cache.files.mkdir(parents=True, exist_ok=True)
    part = PartFile(cache.files / f"{hashlib.sha256(pin.url.encode()).hexdigest()}.part")
    progress.step("fetch", pin.url)
    with (
        progress.bar("fetch", total=pin.size or 0) as advance,
        session() as shared,
        held(part.path.with_suffix(".lock")),
    ):
        transfer = Transfer(shared, pin, part, _position(advance), stopping.is_set)
        sha256 = _complete(transfer, stopping)
        part.path.rename(cache.path(sha256))
        part.forget()
        part.path.with_suffix(".lock").unlink(missing_ok=True)
    return sha256


def _complete(transfer: Transfer, stop: threading.Event) -> str:
    try:
        return _from_any(transfer, stop)
    except OSError as full:
        if full.errno not in NO_ROOM:
            raise
        hint = "make room, or set PIMU_CACHE; the bytes that have come are kept"
        raise DiskFullError("no room for the download", where=str(transfer.part.path), hint=hint) from full


def _position(advance: Advance) -> Callable[[int], None]:
    """The bar of all files counts in steps; a file may also lose the bytes that have come."""
    before = 0

    def reached(length: int) -> None:
        nonlocal before
        advance(length - before)
        before = length

    return reached


def _from_any(transfer: Transfer, stop: threading.Event) -> str:
    """Fetch from the first of its servers that has it, and return its sha256. A failure tells the last server's
    answer."""
    pin = transfer.pin
    for url in pin.urls:
        try:
            return _patiently(transfer, url, stop)
        except PermanentError as refused:
            failure = DownloadError(str(refused), where=url, hint=pin.remedy)
        except PassingError as reason:
            hint = "check the network, or try later: the bytes that have come are kept"
            if pin.instead:
                hint += f"; {pin.instead}"
            failure = DownloadError(f"{reason} ({limits.DOWNLOAD_ATTEMPTS} attempts)", where=url, hint=hint)
    raise failure


def _patiently(transfer: Transfer, url: str, stop: threading.Event) -> str:
    attempt = 1
    while True:
        try:
            return transfer.receive(url)
        except PassingError as reason:
            if attempt == limits.DOWNLOAD_ATTEMPTS:
                raise
            pause = reason.wait or _PAUSE * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311  (jitter)
            if stop.wait(pause) or stopping.is_set():
                raise DownloadError("stopped", where=url) from reason
        attempt += 1


def fetch_small(url: str, most: int) -> bytes:
    """A small file that nobody has pinned, such as a signature, of `most` bytes at most. Raises DownloadError, for a
    server that takes longer than limits.SMALL_DOWNLOAD_SECONDS, too."""
    received: Future[bytes] = Future()

    def receive() -> None:
        try:
            received.set_result(_receive_small(url, most))
        except BaseException as error:  # the waiting thread raises it
            received.set_exception(error)

    # A server may send a byte at a time, of the headers as of the content, and no timeout of a socket ends that.
    threading.Thread(target=receive, daemon=True).start()
    try:
        return received.result(timeout=limits.SMALL_DOWNLOAD_SECONDS)
    except FutureTimeoutError as late:
        said = f"the server did not send it in {limits.SMALL_DOWNLOAD_SECONDS} s"
        raise DownloadError(said, where=url, hint="check the network, or try later") from late


def _receive_small(url: str, most: int) -> bytes:
    try:
        with session() as made, made.get(url, stream=True, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                raise DownloadError(f"the server answers {response.status_code}", where=url)
            content: bytes = response.raw.read(most + 1)
    except requests.RequestException as broken:
        raise DownloadError(f"{type(broken).__name__}: {broken}", where=url, hint="check the network") from broken
    except urllib3.exceptions.HTTPError as broken:
        raise DownloadError(f"{type(broken).__name__}: {broken}", where=url, hint="try later") from broken
    if len(content) > most:
        raise DownloadError(f"is larger than {most} bytes", where=url)
    return content
