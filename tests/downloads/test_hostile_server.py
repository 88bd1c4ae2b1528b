"""A download ends right, or stops with one clear line, with any server; the next run goes on from there."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable

import pytest

from builder import limits
from builder.errors import DownloadError
from builder.fetch import Cache, Pin, fetch, fetch_small
from builder.model.progress import Silent
from tests.loopback import Answer, Request, Site, one_after_the_other

CONTENT = random.Random(7).randbytes(3_000_000)
OTHER = random.Random(8).randbytes(3_000_000)
HALF = 1_234_567
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def pin(site: Site, *mirrors: str) -> Pin:
    return Pin(f"{site.url}/image", SHA256, len(CONTENT), "look for another", mirrors=mirrors)


def served(request: Request, content: bytes = CONTENT, etag: str = '"one"', cut: int | None = None) -> None:
    """As a good server does, Range and If-Range included; `cut` hangs up when so many bytes of the file are out."""
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    start = int(asked[1]) if asked and request.headers.get("If-Range", etag) == etag else 0
    end = len(content) if cut is None else cut
    headers = {"ETag": etag}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    request.reply(content[start:end], status=206 if start else 200, length=len(content) - start, **headers)
    request.close_connection = True


def cut_at(position: int) -> Answer:
    return lambda request: served(request, cut=position)


def ranges(site: Site) -> tuple[list[str], Callable[[Answer], Answer]]:
    """The ranges that were asked for, request by request."""
    seen: list[str] = []

    def watched(answer: Answer) -> Answer:
        def reply(request: Request) -> None:
            seen.append(request.headers.get("Range", ""))
            answer(request)

        return reply

    return seen, watched


@pytest.mark.parametrize("position", [0, 1, 65_536, HALF, len(CONTENT) - 1])
def test_a_connection_that_drops_is_gone_on_with(site: Site, cache: Cache, position: int) -> None:
    seen, watched = ranges(site)
    site.pages["/image"] = watched(one_after_the_other(cut_at(position), served))
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT
    assert seen == ["", f"bytes={position}-"]
    assert sorted(path.name for path in cache.files.iterdir()) == [SHA256]


def test_the_next_run_goes_on_where_one_gave_up(site: Site, cache: Cache) -> None:
    seen, watched = ranges(site)
    site.pages["/image"] = watched(one_after_the_other(cut_at(HALF), lambda request: request.reply(b"", status=503)))
    with pytest.raises(DownloadError, match=r"503 \(5 attempts\)\n  .*the bytes that have come are kept"):
        fetch([pin(site)], cache, Silent())
    site.pages["/image"] = watched(served)
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT
    assert seen[-1] == f"bytes={HALF}-"


def _ignores_range(request: Request) -> None:
    request.reply(CONTENT, ETag='"one"')


def _another_part(request: Request) -> None:
    header = f"bytes {HALF + 7}-{len(CONTENT) - 1}/{len(CONTENT)}"
    request.reply(CONTENT[HALF + 7 :], status=206, Content_Range=header)


def _another_length(request: Request) -> None:
    request.reply(CONTENT[HALF:], status=206, Content_Range=f"bytes {HALF}-{len(CONTENT)}/{len(CONTENT) + 1}")


def _nothing_of_the_range(request: Request) -> None:
    request.reply(b"", status=416, Content_Range=f"bytes */{HALF // 2}")


def _rest_of_another(request: Request) -> None:
    header = f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}"
    request.reply(OTHER[HALF:], status=206, Content_Range=header)


def _part_without_a_range(request: Request) -> None:
    request.reply(CONTENT[HALF:], status=206)


@pytest.mark.parametrize(
    "second",
    [_ignores_range, _another_part, _another_length, _nothing_of_the_range, _rest_of_another, _part_without_a_range],
)
def test_no_answer_to_a_range_is_believed_further_than_its_bytes(site: Site, cache: Cache, second: Answer) -> None:
    site.pages["/image"] = one_after_the_other(cut_at(HALF), second, served)
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


def test_a_file_that_changes_midway_is_begun_again(site: Site, cache: Cache) -> None:
    """Another ETag: If-Range makes the server send the whole file."""
    site.pages["/image"] = one_after_the_other(
        lambda request: served(request, OTHER, '"old"', cut=HALF), lambda request: served(request, CONTENT, '"new"')
    )
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


def test_a_weak_etag_is_not_built_upon(site: Site, cache: Cache) -> None:
    seen, watched = ranges(site)
    weak = one_after_the_other(
        lambda request: served(request, etag='W/"x"', cut=HALF), lambda request: served(request, etag='W/"x"')
    )
    site.pages["/image"] = watched(weak)
    fetch([pin(site)], cache, Silent())
    assert seen == ["", ""]


def _says_too_little(request: Request) -> None:
    request.reply(CONTENT, length=len(CONTENT) - 1000, ETag='"one"')


def _says_too_much(request: Request) -> None:
    request.reply(CONTENT, length=len(CONTENT) + 1000, ETag='"one"')
    request.close_connection = True


@pytest.mark.parametrize("liar", [_says_too_little, _says_too_much])
def test_a_wrong_length_is_no_end(site: Site, cache: Cache, liar: Answer) -> None:
    site.pages["/image"] = one_after_the_other(liar, served)
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


def test_a_drip_is_a_stall(site: Site, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SERVER_STALL_SECONDS", 0.2)

    def drips(request: Request) -> None:
        request.reply(CONTENT[:1000], length=len(CONTENT), ETag='"one"')
        for byte in CONTENT[1000:1100]:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            time.sleep(0.01)

    site.pages["/image"] = one_after_the_other(drips, served)
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


def test_redirects_in_a_circle_end_at_once(site: Site, cache: Cache) -> None:
    site.pages["/image"] = lambda request: request.reply(b"", status=302, Location="/image")
    with pytest.raises(DownloadError, match="redirects in a circle") as error:
        fetch([pin(site)], cache, Silent())
    assert error.value.exit_code == 4


def test_too_many_requests_are_spaced_as_the_server_says(site: Site, cache: Cache) -> None:
    site.pages["/image"] = one_after_the_other(lambda request: request.reply(b"", status=429, Retry_After="1"), served)
    begun = time.monotonic()
    fetch([pin(site)], cache, Silent())
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("trouble", [lambda request: request.reply(OTHER), lambda request: request.send_error(404)])
def test_a_mirror_is_asked_when_the_first_server_fails(site: Site, cache: Cache, trouble: Answer) -> None:
    site.pages = {"/image": trouble, "/mirror": served}
    fetch([pin(site, f"{site.url}/mirror")], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


def test_a_part_of_one_mirror_is_not_gone_on_with_at_another(site: Site, cache: Cache) -> None:
    seen, watched = ranges(site)
    site.pages = {
        "/image": one_after_the_other(cut_at(HALF), lambda request: request.send_error(404)),
        "/mirror": watched(served),
    }
    fetch([pin(site, f"{site.url}/mirror")], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT
    assert seen == [""]


def test_no_server_has_it_and_the_last_one_is_named(site: Site, cache: Cache) -> None:
    with pytest.raises(DownloadError, match="404\n  look for another") as error:
        fetch([pin(site, f"{site.url}/mirror")], cache, Silent())
    assert error.value.where == f"{site.url}/mirror"


def test_a_file_of_unknown_size_is_known_by_its_hash(site: Site, cache: Cache) -> None:
    site.pages["/image"] = served
    unknown = Pin(f"{site.url}/image", SHA256, None)
    for _ in range(2):
        fetch([unknown], cache, Silent())
    assert site.asked["/image"] == 1
    cache.path(SHA256).write_bytes(CONTENT[:-1])
    fetch([unknown], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("seed", range(20))
def test_a_server_of_many_moods_is_survived(site: Site, cache: Cache, seed: int) -> None:
    """Moods in any order; the last one is good. A cut or a lie may come at any byte."""
    chance = random.Random(seed)
    moods: list[Answer] = [
        cut_at(chance.randrange(len(CONTENT))),
        _ignores_range,
        _nothing_of_the_range,
        lambda request: request.reply(b"", status=503),
        _says_too_much,
        _rest_of_another,
    ]
    site.pages["/image"] = one_after_the_other(*chance.choices(moods, k=4), served)
    fetch([pin(site)], cache, Silent())
    assert cache.path(SHA256).read_bytes() == CONTENT


def _drips(head: bytes, drop: bytes) -> Answer:
    """A byte at a time, faster than any timeout between two reads."""

    def reply(request: Request) -> None:
        request.wfile.write(head)
        for _ in range(200):
            request.wfile.write(drop)
            time.sleep(0.05)

    return reply


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: more\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status", "headers", "content", "chunks"],
)
def test_a_small_file_that_drips_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, head: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(limits, "SMALL_DOWNLOAD_SECONDS", 0.5)
    site.pages["/image.sig"] = _drips(head, drop)
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"did not send it in 0.5 s\n  check the network"):
        fetch_small(f"{site.url}/image.sig", 1 << 20)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("length", [1001, 1 << 30])
def test_a_small_file_that_is_large_is_not_taken(site: Site, length: int) -> None:
    site.pages["/image.sig"] = lambda request: request.reply(bytes(2000), length=length)
    with pytest.raises(DownloadError, match="is larger than 1000 bytes"):
        fetch_small(f"{site.url}/image.sig", 1000)
