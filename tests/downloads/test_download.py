"""Only what a pin says comes into the cache, complete; what may pass is tried again, what will not is said at once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from builder.errors import DownloadError
from builder.fetch import Cache, Pin, fetch
from builder.model.progress import Advance, Silent
from tests.loopback import Answer, Request, Site, one_after_the_other, serving

CONTENT = bytes(range(256)) * 5000  # more than one chunk
REMEDY = "`pimu-build lock --upgrade` takes its successor"


class Counted(Silent):
    """Progress that adds up."""

    def __init__(self) -> None:
        self.total = self.done = 0

    @contextmanager
    def bar(self, name: str, *, total: int, unit: str = "B") -> Iterator[Advance]:
        self.total = total

        def advance(count: int) -> None:
            self.done += count

        yield advance


def pin(site: Site, content: bytes = CONTENT, path: str = "/x.deb") -> Pin:
    return Pin(f"{site.url}{path}", hashlib.sha256(content).hexdigest(), len(content), REMEDY)


def refused(wanted: Pin, cache: Cache) -> DownloadError:
    """The error of fetching what shall not come, after which the cache holds nothing."""
    with pytest.raises(DownloadError) as caught:
        fetch([wanted], cache, Silent())
    assert caught.value.exit_code == 4
    assert caught.value.where == wanted.url
    assert list(cache.entries()) == []
    return caught.value


def test_what_is_good_comes_once(site: Site, cache: Cache) -> None:
    site.pages = {"/x.deb": CONTENT, "/empty": b""}
    progress = Counted()
    for _ in range(2):
        fetch([pin(site), pin(site), pin(site, b"", "/empty")], cache, progress)
    assert cache.path(pin(site).sha256).read_bytes() == CONTENT
    assert sorted(path.name for path in cache.files.iterdir()) == sorted([pin(site).sha256, pin(site, b"").sha256])
    assert site.asked == {"/x.deb": 1, "/empty": 1}
    assert progress.done == progress.total == len(CONTENT)


def test_what_is_gone_is_an_error_with_its_remedy_and_is_not_asked_for_again(site: Site, cache: Cache) -> None:
    error = refused(pin(site), cache)
    assert (error.message, error.hint) == ("the server answers 404", REMEDY)
    assert site.asked["/x.deb"] == 1


def test_what_has_other_bytes_is_refused(site: Site, cache: Cache) -> None:
    forged = CONTENT[:-1] + b"!"
    site.pages["/x.deb"] = forged
    error = refused(pin(site), cache)
    assert error.message == f"has sha256 {pin(site, forged).sha256}, its pin says {pin(site).sha256}"
    assert error.hint == REMEDY


def test_what_is_longer_is_refused(site: Site, cache: Cache) -> None:
    site.pages["/x.deb"] = CONTENT + b"more"
    assert refused(pin(site), cache).message == f"is larger than the {len(CONTENT)} bytes of its pin"


def test_what_stays_too_short_is_given_up(site: Site, cache: Cache) -> None:
    site.pages["/x.deb"] = CONTENT[:1000]
    assert refused(pin(site), cache).message == f"ended after 1000 of {len(CONTENT)} bytes (5 attempts)"
    assert site.asked["/x.deb"] == 5


def test_nobody_listens(cache: Cache) -> None:
    with serving() as site:
        wanted = pin(site)
    error = refused(wanted, cache)
    assert "Connection refused" in error.message
    assert error.hint == "check the network, or try later: the bytes that have come are kept"


def _dropped(request: Request) -> None:
    request.reply(CONTENT[:5000], length=len(CONTENT))
    request.close_connection = True


def _garbage(request: Request) -> None:
    request.wfile.write(b"no HTTP at all\r\n\r\n")
    request.close_connection = True


def _busy(request: Request) -> None:
    request.reply(b"later", status=503)


@pytest.mark.parametrize("trouble", [_dropped, _garbage, _busy], ids=["dropped", "garbage", "busy"])
def test_trouble_that_passes_is_not_seen(site: Site, cache: Cache, trouble: Answer) -> None:
    site.pages["/x.deb"] = one_after_the_other(trouble, trouble, CONTENT)
    progress = Counted()
    fetch([pin(site)], cache, progress)
    assert cache.path(pin(site).sha256).read_bytes() == CONTENT
    assert site.asked["/x.deb"] == 3
    assert progress.done == progress.total


def test_the_server_says_when_to_ask_again(site: Site, cache: Cache) -> None:
    site.pages["/x.deb"] = one_after_the_other(
        lambda request: request.reply(b"", status=503, Retry_After="1"),
        lambda request: request.reply(b"", status=503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        CONTENT,
    )
    begun = time.monotonic()
    fetch([pin(site)], cache, Silent())
    assert 1 <= time.monotonic() - begun < 5


def test_offline_names_a_file_that_is_missing_and_asks_nobody(site: Site, cache: Cache) -> None:
    site.pages = {"/x.deb": CONTENT, "/y.deb": b"y"}
    fetch([pin(site)], cache, Silent())
    fetch([pin(site)], cache, Silent(), offline=True)
    with pytest.raises(DownloadError) as caught:
        fetch([pin(site), pin(site, b"y", "/y.deb")], cache, Silent(), offline=True)
    assert caught.value.message == f"1 files (0 MiB) are not in the cache, the first is {site.url}/y.deb"
    assert caught.value.hint == "run once without --offline"
    assert site.asked["/y.deb"] == 0


def test_a_file_cut_off_by_a_power_cut_is_fetched_again(site: Site, cache: Cache) -> None:
    site.pages["/x.deb"] = CONTENT
    cache.files.mkdir(parents=True)
    cache.path(pin(site).sha256).write_bytes(CONTENT[:100])
    fetch([pin(site)], cache, Silent())
    assert cache.path(pin(site).sha256).read_bytes() == CONTENT


def test_two_at_once_fetch_it_once_and_see_no_half_file(site: Site, cache: Cache) -> None:
    half, go_on = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        request.reply(CONTENT[:300_000], length=len(CONTENT))
        half.set()
        go_on.wait(10)
        request.wfile.write(CONTENT[300_000:])

    site.pages["/x.deb"] = slow
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch, [pin(site)], cache, Silent()) for _ in range(2)]
        assert half.wait(10)
        assert list(cache.entries()) == []
        go_on.set()
        for future in both:
            future.result(10)
    assert cache.path(pin(site).sha256).read_bytes() == CONTENT
    assert site.asked["/x.deb"] == 1


def test_one_that_fails_stops_the_others(site: Site, cache: Cache) -> None:
    def endless(request: Request) -> None:
        request.reply(b"", length=1 << 40)
        while True:
            request.wfile.write(bytes(1 << 16))

    site.pages["/endless"] = endless
    large = Pin(f"{site.url}/endless", "0" * 64, 1 << 40)
    with pytest.raises(DownloadError, match="404"):
        fetch([large, pin(site)], cache, Silent())
    assert list(cache.entries()) == []


def test_damage_in_the_cache_is_found(site: Site, cache: Cache) -> None:
    site.pages = {"/x.deb": CONTENT, "/y.deb": b"y"}
    fetch([pin(site), pin(site, b"y", "/y.deb")], cache, Silent())
    assert list(cache.damaged()) == []
    cache.path(pin(site, b"y").sha256).write_bytes(b"z")
    assert list(cache.damaged()) == [cache.path(pin(site, b"y").sha256)]
