"""Make the guest's network of the file network-config, or raise errors with file and line."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from builder.model.guest_seed import Network, Route
from builder.model.network_config import Ethernet, NetworkConfig
from builder.profile import Document, Problem, refuse, validate

DHCP = Network(dhcp4=True)
"""The network of a seed without network-config, as cloud-init has it (Network configuration, Fallback)."""
_DEFAULT = "default"


def network(document: Document, mac: str) -> Network:
    """The network of the guest's one card. `mac` is the card's address.

    Raises ConfigurationError for an unknown key, for another card, and for a guest without an address.
    """
    config_document = document.part("network") if set(document.data) == {"network"} else document
    if config_document.data.get("version") == 1:
        hint = "write `version: 2` and `ethernets:` (cloud-init's documentation, Networking Config Version 2)"
        refuse([Problem(config_document.origins.mark("version"), "version: 1 is not understood", hint)])
    config = validate(NetworkConfig, config_document)
    if len(config.ethernets) != 1:
        text = f"ethernets: names {len(config.ethernets)} cards, and the guest has one"
        refuse([Problem(config_document.origins.mark("ethernets"), text)])
    ((name, card),) = config.ethernets.items()
    problems = [
        Problem(config_document.origins.mark(f"ethernets.{name}{key}"), f"{name}{key}: {text}", hint)
        for key, text, hint in _problems(card, mac)
    ]
    if problems:
        refuse(problems)
    return Network(
        dhcp4=card.dhcp4,
        addresses=card.addresses,
        routes=_routes(card),
        dns=card.nameservers.addresses,
        search=card.nameservers.search,
        mtu=card.mtu,
        set_name=card.set_name,
    )


def _routes(card: Ethernet) -> tuple[Route, ...]:
    gateways = [Route(_DEFAULT, via) for via in (card.gateway4, card.gateway6) if via is not None]
    return (*gateways, *(Route(route.to, route.via, route.metric, route.on_link) for route in card.routes))


def _problems(card: Ethernet, mac: str) -> Iterator[tuple[str, str, str]]:
    """Key, text and hint of each problem."""
    if card.match is not None and card.match.macaddress not in (None, mac):
        hint = "write {{ identity.guest_mac | yaml }} there; machine.mac in the node's file sets it"
        yield ".match.macaddress", f"{card.match.macaddress} is not the guest's card, which is {mac}", hint
    if not card.dhcp4 and not card.addresses:
        yield "", "has neither dhcp4 nor addresses, so the guest has no address", "write dhcp4: true, or addresses"
    if card.dhcp4 and (card.nameservers.addresses or card.nameservers.search):
        hint = "take it out, or give the guest a fixed address"
        yield ".nameservers", "has no effect beside dhcp4, as the lease names the servers", hint
    yield from _route_problems(card)


def _route_problems(card: Ethernet) -> Iterator[tuple[str, str, str]]:
    networks = [ipaddress.ip_interface(address).network for address in card.addresses]
    keys = [key for key in ("gateway4", "gateway6") if getattr(card, key) is not None]
    keys += [f"routes.{index}" for index in range(len(card.routes))]
    defaults: set[tuple[int, int | None]] = set()
    for key, route in zip(keys, _routes(card), strict=True):
        via = ipaddress.ip_address(route.via)
        if route.to != _DEFAULT and ipaddress.ip_network(route.to).version != via.version:
            yield f".{key}", f"to {route.to} leads via {route.via}, of another kind of address", ""
        by_lease = card.dhcp4 and via.version == 4
        reached = any(via in network for network in networks) or via.is_link_local or route.on_link or by_lease
        if not reached:
            hint = "write on-link: true below a route if it is there all the same"
            yield f".{key}", f"{route.via} is in the network of none of the addresses", hint
        if route.via in [str(ipaddress.ip_interface(address).ip) for address in card.addresses]:
            yield f".{key}", f"{route.via} is the guest's own address", ""
        if route.to == _DEFAULT:
            if (via.version, route.metric) in defaults:
                yield f".{key}", f"is the second default route for IPv{via.version}", "a metric tells them apart"
            defaults.add((via.version, route.metric))
