"""The bridge of a node: its port, its MAC address, and its IPv4 address."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from builder.model.strict import Strict
from builder.model.values import Ipv4, Ipv4Interface, Mac, check_port


class StaticAddress(Strict):
    address: Ipv4Interface = Field(
        description="IPv4 address of the Pi with its prefix length.", examples=["192.168.1.13/24"]
    )
    gateway: Ipv4 = Field(description="IPv4 address of the router.", examples=["192.168.1.1"])
    dns: tuple[Ipv4, ...] = Field(
        strict=False, description="IPv4 addresses of DNS servers.", examples=[["192.168.1.1", "9.9.9.9"]]
    )

    @model_validator(mode="after")
    def _reachable(self) -> StaticAddress:
        interface, gateway = ipaddress.IPv4Interface(self.address), ipaddress.IPv4Address(self.gateway)
        network = interface.network
        if gateway not in network:
            raise ValueError(f"gateway {self.gateway} is not in the network of {self.address}")
        if network.prefixlen < 31 and gateway in (network.network_address, network.broadcast_address):
            raise ValueError(f"gateway {self.gateway} is the address of a network, not of a machine")
        if len(set(self.dns)) < len(self.dns):
            raise ValueError("names a DNS server twice")
        if interface.ip == gateway:
            raise ValueError(f"{self.address} is the gateway's own address")
        if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
            raise ValueError(f"{self.address} is the address of a network, not of a machine")
        return self


class Bridge(Strict):
    port: Annotated[str, BeforeValidator(check_port)] = Field(
        description="The wired port that is in the bridge.", examples=["eth0"]
    )
    mac: Literal["derived", "inherit"] | Mac = Field(
        description="MAC address of the bridge: derived from cluster and node name, inherited from the port, or an "
        "address in quotes.",
        examples=["derived", "inherit", "52:54:00:12:34:56"],
    )
    ipv4: Literal["dhcp"] | StaticAddress = Field(
        description="The way to an IPv4 address: DHCP, or a fixed address.",
        examples=["dhcp", {"address": "192.168.1.13/24", "gateway": "192.168.1.1", "dns": ["192.168.1.1"]}],
    )
