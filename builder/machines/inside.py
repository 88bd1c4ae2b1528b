"""The process in a new network namespace: `python -m builder.machines.inside DESCRIPTOR PLACES`. The namespace lives as
long as the process.

The process talks over the socket DESCRIPTOR. It sends READY, and then a listening socket for each place. Then it
receives port numbers, connects to each of them on 127.0.0.1, and sends the connected socket, until the other end is
closed. A socket belongs to the namespace in which it was made, whichever process uses it (network_namespaces(7)).
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import sys

from builder import limits
from builder.errors import PimuError
from builder.host.run import run

TOOLS = ("ip",)

_PORT = struct.Struct("!H")
READY = b"ready"


def hold(control: socket.socket, places: list[tuple[str, int]]) -> None:
    try:
        run(["ip", "link", "set", "lo", "up"])
        for address in dict.fromkeys(address for address, _ in places):
            if not ipaddress.IPv4Address(address).is_loopback:
                run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    except PimuError as error:
        control.sendall(str(error).encode()[: limits.NETWORK_MESSAGE])
        return
    control.sendall(READY)
    for place in places:
        _listen(control, place)
    while len(asked := control.recv(_PORT.size, socket.MSG_WAITALL)) == _PORT.size:
        _connect(control, *_PORT.unpack(asked))


def _listen(control: socket.socket, place: tuple[str, int]) -> None:
    try:
        with socket.create_server(place) as listener:
            socket.send_fds(control, [b"+"], [listener.fileno()])
    except OSError as error:
        control.sendall(str(error).encode())


def _connect(control: socket.socket, port: int) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), limits.INNER_CONNECT_SECONDS) as connection:
            connection.settimeout(None)
            socket.send_fds(control, [b"+"], [connection.fileno()])
    except OSError:
        control.sendall(b"-")


if __name__ == "__main__":
    hold(socket.socket(fileno=int(sys.argv[1])), [(address, port) for address, port in json.loads(sys.argv[2])])
