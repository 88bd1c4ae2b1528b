"""The values that a guest reads from its seed: its name, its accounts, its network."""

from __future__ import annotations

from dataclasses import dataclass

SHELL = "/bin/bash"


@dataclass(frozen=True, slots=True)
class Account:
    """`is_root`: the account may become root without a password. `keys` are lines of authorized_keys. `shell` is a
    path; a guest without that file uses /bin/sh."""

    name: str
    keys: tuple[str, ...]
    is_root: bool
    shell: str = SHELL
    gecos: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """`to` is a network such as 10.0.0.0/8, or `default`; `via` an address."""

    to: str
    via: str
    metric: int | None = None
    on_link: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """The network of the guest's one card. `addresses` have their prefix length; `mtu` is in bytes."""

    dhcp4: bool
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int | None = None
    set_name: str | None = None


@dataclass(frozen=True, slots=True)
class GuestSeed:
    hostname: str
    fqdn: str | None
    accounts: tuple[Account, ...]
    network: Network
