"""A network namespace for a helper machine. QEMU in it reaches only our listeners.

QEMU's user network opens the machine's connections in QEMU's own process (libslirp). The namespace has only a loopback,
so the kernel refuses all other connections, even those of a QEMU that the machine has taken over. The loopback has the
addresses that the machine may reach. We accept connections there, and connect to the places from the host.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builder import limits
from builder.errors import BuildError, MissingToolError
from builder.host.run import kill, start
from builder.host.sandbox import NAMESPACES_REMEDY
from builder.machines.inside import READY
from builder.machines.relay import Handler, pass_on, serving

TOOLS = ("unshare",)

LOOPBACK = "127.0.0.1"
_PORT = struct.Struct("!H")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A TCP port of an IPv4 address. The host's loopback is at the gateway of the machine's network (libslirp)."""

    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return ipaddress.IPv4Address(self.address).is_loopback


@dataclass(frozen=True, slots=True)
class Network:
    """A namespace. `enter` are the words before a program's command that start it there; () means the host's
    network."""

    enter: tuple[str, ...]
    _control: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def connect(self, port: int) -> socket.socket:
        """A connection to 127.0.0.1:`port` in the namespace. Raises OSError when nobody listens there."""
        assert self._control is not None
        with self._lock:
            self._control.sendall(_PORT.pack(port))
            said, numbers, _, _ = socket.recv_fds(self._control, 1, 1)
        if said != b"+" or not numbers:
            raise ConnectionRefusedError(f"nothing listens on port {port} of the machine's network")
        return socket.socket(fileno=numbers[0])


HOSTS = Network(enter=())
"""The network of the host itself."""


def connecting_to(place: Place) -> Handler:
    """A handler that connects to `place` from the host, and passes data on both ways."""

    def handle(connection: socket.socket) -> None:
        with socket.create_connection((place.address, place.port), limits.CONNECT_SECONDS) as other:
            other.settimeout(None)
            pass_on(connection, other)

    return handle


@contextmanager
def private_network(handlers: Mapping[Place, Handler]) -> Iterator[Network]:
    """A new namespace. Each connection to a place in it goes to that place's handler.

    Raises MissingToolError when the kernel allows no namespace, BuildError for a place that cannot be listened on.
    """
    places = sorted(handlers)
    with ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        ours.settimeout(limits.CONNECT_SECONDS)
        user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        with theirs:
            asked = json.dumps([[place.address, place.port] for place in places])
            module = [sys.executable, "-m", "builder.machines.inside", str(theirs.fileno()), asked]
            holder = start(
                ["unshare", *user, "--net", "--", *module],
                env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=Path("/"),
                pass_fds=[theirs.fileno()],
            )
        stack.callback(kill, holder)
        _await(ours)  # until then the process is in the host's namespace, and a program would enter that one
        listeners = [_received(ours, place) for place in places]
        for place, listener in zip(places, listeners, strict=True):
            stack.enter_context(serving(listener, handlers[place]))
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        if user:
            enter += [f"--user=/proc/{holder.pid}/ns/user", "--preserve-credentials"]
        yield Network((*enter, "--"), ours)


def _await(control: socket.socket) -> None:
    try:
        said = control.recv(limits.NETWORK_MESSAGE)
    except OSError as error:
        raise BuildError(f"the machine's network does not come: {error}") from error
    if not said:
        raise MissingToolError("this kernel lets us have no network namespace of our own", hint=NAMESPACES_REMEDY)
    if said != READY:
        raise BuildError(f"the machine's network does not come: {said.decode(errors='replace')}")


def _received(control: socket.socket, place: Place) -> socket.socket:
    said, numbers, _, _ = socket.recv_fds(control, limits.NETWORK_MESSAGE, 1)
    if not numbers:
        raise BuildError(
            f"cannot listen there: {said.decode(errors='replace') or 'it has ended'}",
            where=f"{place.address}:{place.port}",
        )
    return socket.socket(fileno=numbers[0])


def free_port() -> int:
    """A free TCP port on the host's loopback. QEMU could choose one itself, but does not tell which."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def ssh_port(network: Network, inner: int) -> Iterator[int]:
    """A port on the host's loopback that leads to the port `inner` in the namespace."""

    def handle(connection: socket.socket) -> None:
        with network.connect(inner) as other:
            pass_on(connection, other)

    listener = socket.create_server((LOOPBACK, 0))
    with serving(listener, handle):
        yield int(listener.getsockname()[1])


def places_of(texts: Sequence[str]) -> tuple[Place, ...]:
    """The places of texts ADDRESS:PORT with an IPv4 address. Raises ValueError, which quotes the text."""
    return tuple(dict.fromkeys(_place(text) for text in texts))


def _place(text: str) -> Place:
    address, _, port = text.rpartition(":")
    try:
        number, known = int(port) if port.isascii() and port.isdecimal() else 0, ipaddress.IPv4Address(address)
    except ValueError as error:
        raise ValueError(f"{text!r} is not ADDRESS:PORT with an IPv4 address") from error
    if not 0 < number < 1 << 16:
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    if known.is_loopback and str(known) != LOOPBACK:
        raise ValueError(f"{text!r} is no address that a machine finds: name {LOOPBACK}")
    if known.is_multicast or known.is_unspecified or known.is_link_local:
        raise ValueError(f"{text!r} is no address of one machine")
    return Place(str(known), number)
