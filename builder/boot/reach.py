"""The network that an emulated Pi may reach: only the places that the user names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from builder.errors import ConfigurationError, MissingToolError
from builder.machines.network import HOSTS, Network, Place, connecting_to, free_port, private_network, ssh_port
from builder.model.bridge import StaticAddress

_QEMUS_OWN = ipaddress.IPv4Network("10.0.2.0/24")
"""QEMU's default network (qemu(1), `-netdev user`)."""

_INNER_PORT = 2222
"""The port of ssh in the machine's network namespace. Only the places of --reach listen there besides it."""


@dataclass(frozen=True, slots=True)
class Access:
    """The Pi finds the places in `reach` at their own addresses, and places on this host's loopback at its gateway.
    With `everything` it uses this host's network: the internet, the LAN, and the services of the loopback."""

    reach: tuple[Place, ...] = ()
    everything: bool = False


CLOSED = Access()


@contextmanager
def network_of(access: Access, address: StaticAddress | None) -> Iterator[tuple[Network, int, int]]:
    """The network, the port on its loopback that QEMU forwards to ssh, and the port of this host that leads there.

    Raises ConfigurationError for a place in the Pi's own network, which QEMU emulates, and for a loopback place with
    the port of ssh. Raises MissingToolError, and the other errors of `private_network`.
    """
    if access.everything:
        port = free_port()
        yield HOSTS, port, port
        return
    own = ipaddress.IPv4Interface(address.address).network if address else _QEMUS_OWN
    for place in access.reach:
        where = f"{place.address}:{place.port}"
        if ipaddress.IPv4Address(place.address) in own:
            raise ConfigurationError(
                f"is in the Pi's own network {own}, which QEMU makes up",
                where=where,
                hint="run the service on this host and name it as 127.0.0.1:PORT: the Pi finds it at its gateway",
            )
        if place.is_loopback and place.port == _INNER_PORT:
            raise ConfigurationError(
                "is the port of the Pi's ssh in that network", where=where, hint="use another port"
            )
    with ExitStack() as stack:
        try:
            network = stack.enter_context(private_network({place: connecting_to(place) for place in access.reach}))
        except MissingToolError as error:
            hint = f"{error.hint}; or trust the image, and give it this host's: --network open"
            raise MissingToolError(error.message, hint=hint) from error
        yield network, _INNER_PORT, stack.enter_context(ssh_port(network, _INNER_PORT))
