"""A proxy for the installer's machine: it serves one package mirror, and nothing else.

A mirror by http is asked by GET and HEAD, below its own path. One by https gets a tunnel (CONNECT) to its host and port
alone: what goes through it is between the machine and that server. No redirect is followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from builder import limits
from builder.errors import ConfigurationError
from builder.machines.relay import pass_on
from builder.model.progress import Progress

_READ = 1 << 16
_PART = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._+~@:=,-]+"
_REST = re.compile(rf"(?:/{_PART})+/?")
"""Path below the mirror's, decoded: nothing that a server could take for `..`, for a query, or for another encoding."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ASKED = ("Range", "If-Modified-Since", "User-Agent")
_ANSWERED = ("Content-Length", "Content-Type", "Content-Range", "Last-Modified", "ETag")


class Mirror:
    """The mirror at `url`, from a guest's profile. Raises ConfigurationError for what is no http or https address."""

    def __init__(self, url: str, progress: Progress, most: int = limits.MIRROR) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ConfigurationError("is no address of a mirror", where=url, hint="name it as http://HOST/PATH")
        self.scheme, self.host = parts.scheme, parts.hostname
        self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.path = parts.path.rstrip("/")
        self._progress = progress
        self._left = most
        self._told = 0
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        """One connection of the machine, to its end."""
        _Request(connection, ("", 0), self)  # type: ignore[arg-type]  # it only keeps its server

    def path_of(self, target: str) -> str | None:
        """The path to ask the mirror for, of a request's absolute URL; None when it is not the mirror's."""
        try:
            parts = urlsplit(target)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return None
        if self.scheme != "http" or (parts.scheme, parts.hostname, port) != ("http", self.host, self.port):
            return None
        if parts.query or parts.fragment or "@" in parts.netloc or not parts.path.startswith(f"{self.path}/"):
            return None
        return parts.path if _REST.fullmatch(unquote(parts.path.removeprefix(self.path))) else None

    def is_tunnel(self, target: str) -> bool:
        return self.scheme == "https" and target.lower() == f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """Raises OSError. A name that leads to this host itself is refused: whoever answers for it may say anything."""
        last: OSError = ConnectionRefusedError(f"{self.host} is a name for this host or its own network")
        for address in self._addresses():
            try:
                return socket.create_connection(address, limits.CONNECT_SECONDS)
            except OSError as error:
                last = error
        raise last

    def _addresses(self) -> Iterator[tuple[str, int]]:
        for *_, place in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            found = ipaddress.ip_address(str(place[0]).partition("%")[0])
            is_this_host = found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast
            if not is_this_host or self.host in (str(found), "localhost"):
                yield str(place[0]), self.port

    def spend(self, count: int) -> None:
        """Raises OSError when the machine has fetched too much."""
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise ConnectionAbortedError("more than an installation takes")

    def tell(self, text: str) -> None:
        with self._lock:
            self._told += 1
            told = self._told
        if told <= limits.REFUSALS_SHOWN:
            self._progress.step("guest", text)


class _Request(BaseHTTPRequestHandler):
    """One request of a connection; HTTP/1.0, so that its end is the connection's."""

    server: Mirror  # type: ignore[assignment]
    timeout = limits.CONNECT_SECONDS

    def do_GET(self) -> None:
        path = self.server.path_of(self.path)
        if path is None:
            self._refuse()
            return
        upstream = _Upstream(self.server)
        try:
            upstream.request(self.command, path, headers=self._kept(self.headers, _ASKED))
            self._answer(upstream.getresponse())
        except (OSError, http.client.HTTPException) as error:
            self._fail(str(error))
        finally:
            upstream.close()

    do_HEAD = do_GET  # noqa: N815 (as BaseHTTPRequestHandler calls it)

    def do_CONNECT(self) -> None:
        if not self.server.is_tunnel(self.path):
            self._refuse()
            return
        try:
            other = self.server.connect()
        except OSError as error:
            self._fail(str(error))
            return
        with other:
            self.send_response_only(HTTPStatus.OK)
            self.end_headers()
            self.wfile.flush()
            pass_on(self.connection, other, self.server.spend)

    def _answer(self, response: http.client.HTTPResponse) -> None:
        if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST and response.status != 304:
            elsewhere = response.headers.get("Location", "")[: limits.QUOTED]
            self._fail(f"it sends us to {elsewhere!r}: name that mirror in the profile")
            return
        self.send_response_only(response.status)
        for name, value in self._kept(response.headers, _ANSWERED).items():
            self.send_header(name, value)
        self.end_headers()
        while chunk := response.read(_READ):
            self.server.spend(len(chunk))
            self.wfile.write(chunk)

    def _kept(self, headers: Message, names: tuple[str, ...]) -> dict[str, str]:
        return {name: headers[name] for name in names if name in headers}

    def _refuse(self) -> None:
        self.server.tell(f"refused: the machine asks for {self.path[: limits.QUOTED]!r}, which is not the mirror's")
        self.send_error(HTTPStatus.FORBIDDEN)

    def _fail(self, why: str) -> None:
        self.server.tell(f"the mirror {self.server.host} cannot be asked: {why}")
        self.send_error(HTTPStatus.BAD_GATEWAY)

    def log_message(self, *_: object) -> None:
        """`tell` says what there is to say."""


class _Upstream(http.client.HTTPConnection):
    def __init__(self, mirror: Mirror) -> None:
        super().__init__(mirror.host, mirror.port, timeout=limits.CONNECT_SECONDS)
        self._mirror = mirror

    def connect(self) -> None:
        self.sock = self._mirror.connect()
