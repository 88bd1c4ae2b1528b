"""A web server on the loopback for tests: every path answers as the test says, and counts how often it was asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar, cast
from urllib.parse import unquote

Answer = Callable[["Request"], None]
Server = TypeVar("Server", bound=ThreadingHTTPServer)


class Site(ThreadingHTTPServer):
    """`pages` by path, unquoted: bytes are served, an Answer does what it likes, anything else is a 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.pages: dict[str, bytes | Answer] = {}
        self.asked: Counter[str] = Counter()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Request(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = cast(Site, self.server)
        path = unquote(self.path)
        site.asked[path] += 1
        page = site.pages.get(path)
        match page:
            case None:
                self.send_error(404)
            case bytes():
                self.reply(page)
            case _:
                page(self)

    def reply(self, content: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Headers with `length` (the true one by default), then the content."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """In a thread of its own, until it is left."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def serving() -> AbstractContextManager[Site]:
    return running(Site())


def one_after_the_other(*answers: bytes | Answer) -> Answer:
    """The first answer to the first request and so on; the last one for ever."""
    remaining = list(answers)

    def answer(request: Request) -> None:
        now = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if isinstance(now, bytes):
            request.reply(now)
        else:
            now(request)

    return answer
