"""The keys of network-config, version 2, that guests understand. Sources: cloud-init, Networking Config Version 2, and
netplan-yaml. A guest has one card, which the kernel calls eth0."""

from __future__ import annotations

import fnmatch
import ipaddress
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from builder.model.strict import Strict
from builder.model.values import Domain, Ipv4, Mac, of_form

CARD = "eth0"


def _interface(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = ipaddress.ip_interface(value)
    if "/" not in value:
        raise ValueError("needs its prefix length, such as 192.168.1.23/24")
    if found.ip.is_multicast or found.ip.is_unspecified or found.ip.is_loopback:
        raise ValueError(f"{value} is not an address that a machine can have")
    narrow = found.network.prefixlen < found.max_prefixlen - 1
    if found.version == 4 and narrow and found.ip in (found.network.network_address, found.network.broadcast_address):
        raise ValueError(f"{value} is the address of a network, not of a machine")
    return found.with_prefixlen


def _address(value: object) -> object:
    return str(ipaddress.ip_address(value)) if isinstance(value, str) else value


def _ipv6(value: object) -> object:
    return str(ipaddress.IPv6Address(value)) if isinstance(value, str) else value


def _destination(value: object) -> object:
    if not isinstance(value, str) or value == "default":
        return value
    network = ipaddress.ip_network(value)
    return "default" if network.prefixlen == 0 else str(network)


def _is_the_card(value: object) -> object:
    if isinstance(value, str) and not fnmatch.fnmatchcase(CARD, value):
        raise ValueError(f"{value} does not match {CARD}, the guest's one card")
    return value


def _no_dhcp6(value: object) -> object:
    if value is True:
        raise ValueError("is true, but a guest has no DHCPv6; router advertisements give it an address by themselves")
    return value


InterfaceAddress = Annotated[str, BeforeValidator(_interface)]
Address = Annotated[str, BeforeValidator(_address)]


class Match(Strict):
    macaddress: Mac | None = None
    name: Annotated[str, BeforeValidator(_is_the_card)] | None = None


class ConfiguredRoute(Strict):
    to: Annotated[str, BeforeValidator(_destination)]
    via: Address
    metric: int | None = Field(default=None, ge=0, le=2**32 - 1)
    on_link: bool = Field(default=False, alias="on-link")


class Nameservers(Strict):
    addresses: tuple[Address, ...] = Field(default=(), strict=False)
    search: tuple[Domain, ...] = Field(default=(), strict=False)


class Ethernet(Strict):
    """`optional` has no effect: a guest's boot never waits for its network."""

    match: Match | None = None
    set_name: Annotated[str, of_form(r"(?!lo$)[a-z][a-z0-9_-]{0,14}", "is not a card's name such as lan0")] | None = (
        Field(default=None, alias="set-name")
    )
    dhcp4: bool = False
    dhcp6: Annotated[bool, BeforeValidator(_no_dhcp6)] = False
    optional: bool = False
    addresses: tuple[InterfaceAddress, ...] = Field(default=(), strict=False)
    gateway4: Ipv4 | None = None
    gateway6: Annotated[str, BeforeValidator(_ipv6)] | None = None
    routes: tuple[ConfiguredRoute, ...] = Field(default=(), strict=False)
    nameservers: Nameservers = Nameservers()
    mtu: int | None = Field(default=None, ge=576, le=65535)


class NetworkConfig(Strict):
    version: Literal[2]
    ethernets: dict[str, Ethernet]
