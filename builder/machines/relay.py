"""Pass TCP connections on, from a listening socket to a handler.

Each connection has its own threads. Their number is limited, because one side is an untrusted machine.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from builder import limits

_READ = 1 << 16

Handler = Callable[[socket.socket], None]
"""A function that serves one connection until it ends. The caller closes the connection."""


@contextmanager
def serving(listener: socket.socket, handler: Handler) -> Iterator[None]:
    """Serve each connection by `handler`, in a thread, while the context lasts. Then the listener is closed."""
    server = _Server(listener, handler)
    thread = threading.Thread(target=server.accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.close()
        thread.join()


def pass_on(one: socket.socket, other: socket.socket, spend: Callable[[int], None] = lambda _: None) -> None:
    """Copy both ways until both sides have ended their data, or one connection has failed.

    `spend` gets the size of each piece in bytes, and may end the copying by an OSError.
    """
    back = threading.Thread(target=_copy, args=(other, one, spend), daemon=True)
    back.start()
    _copy(one, other, spend)
    back.join()


def _copy(source: socket.socket, target: socket.socket, spend: Callable[[int], None]) -> None:
    try:
        while chunk := source.recv(_READ):
            spend(len(chunk))
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for broken in (source, target):
            with suppress(OSError):
                broken.shutdown(socket.SHUT_RDWR)


class _Server:
    def __init__(self, listener: socket.socket, handler: Handler) -> None:
        self._listener, self._handler = listener, handler
        self._free = threading.Semaphore(limits.CONNECTIONS)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def accept(self) -> None:
        while True:
            self._free.acquire()
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2); a close would not
        self._free.release()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError):
                self._handler(connection)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
            self._free.release()
