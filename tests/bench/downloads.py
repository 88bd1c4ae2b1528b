"""Downloads from a server on the loopback, against curl and sha256sum. The server sends from the page cache without
copying (sendfile(2)), in a process of its own: what is slow is the client.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from builder.fetch import Cache, Pin, fetch
from builder.model.progress import Silent
from tests.bench.measure import MIB, RUNS, Row, medians, say, seconds, shell

ONE_LARGE = (500 * MIB,)
MANY_SMALL = (200 << 10,) * 200


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def copyfile(self, source: Any, outputfile: Any) -> None:
        self.connection.sendfile(source)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a folder."""
    os.environ["no_proxy"] = "127.0.0.1"
    with Server(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        process = multiprocessing.get_context("fork").Process(target=server.serve_forever)
        process.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            process.terminate()
            process.join()


def rows(work: Path, quick: bool) -> list[Row]:
    return [
        row("download one file of 500 MiB", ONE_LARGE, "<= 1.1 x", work / "large"),
        row("download 200 files of 200 KiB", MANY_SMALL, "", work / "small"),
    ]


def row(what: str, sizes: Sequence[int], wanted: str, work: Path) -> Row:
    say(f"{what}, and by curl")
    site, fetched = work / "site", work / "fetched"
    site.mkdir(parents=True)
    files = {f"file-{number}": hashlib.sha256() for number, _ in enumerate(sizes)}
    for (name, digest), size in zip(files.items(), sizes, strict=True):
        content = os.urandom(size)
        (site / name).write_bytes(content)
        digest.update(content)
    sums, urls = work / "SHA256SUMS", work / "urls"
    sums.write_text("".join(f"{digest.hexdigest()}  {name}\n" for name, digest in files.items()))
    with served(site) as url:
        pins = [
            Pin(f"{url}/{name}", digest.hexdigest(), (site / name).stat().st_size) for name, digest in files.items()
        ]
        urls.write_text("remote-name-all\n" + "".join(f'url = "{pin.url}"\n' for pin in pins))

        def by_us() -> float:
            shutil.rmtree(fetched, ignore_errors=True)
            return seconds(lambda: fetch(pins, Cache(fetched), Silent()))

        def by_curl(then: str) -> float:
            shutil.rmtree(fetched, ignore_errors=True)
            fetched.mkdir()
            return seconds(lambda: shell(f'cd "$1"; curl -sSf --parallel -K "$2"; {then}', fetched, urls, sums))

        ours, hashed, bare = medians(
            by_us, lambda: by_curl('sha256sum --quiet -c "$3"; sync *'), lambda: by_curl("sync *")
        )
    return Row(
        f"{what}, sha256 and fsync included (median of {RUNS})",
        f"{ours:.2f} s",
        f"{hashed:.2f} s (curl --parallel, sha256sum, sync); {bare:.2f} s without sha256sum",
        f"{ours / hashed:.2f} x; {ours / bare:.2f} x",
        wanted,
        (
            "builder.fetch.fetch  (hashes while it receives)",
            "curl -sSf --parallel -K urls; sha256sum -c SHA256SUMS; sync *",
        ),
    )
