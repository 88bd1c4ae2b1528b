"""seed.conf: the file on a guest's seed disk that the guest's own scripts read, in place of cloud-init's YAML.

One `key=value` a line; a key may be repeated. What follows `user=` belongs to that account. Values have no control
characters, and the scripts take them as data (overlays/guests/seed/root/usr/lib/pimu).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from builder.errors import ConfigurationError
from builder.model.guest_seed import Account, GuestSeed, Network, Route

NAME = "seed.conf"


def to_text(seed: GuestSeed) -> str:
    """ConfigurationError for a value that would not be one line."""
    return "".join(_line(key, value) for key, value in _pairs(seed))


def _pairs(seed: GuestSeed) -> Iterator[tuple[str, str]]:
    yield "hostname", seed.hostname
    if seed.fqdn is not None:
        yield "fqdn", seed.fqdn
    for account in seed.accounts:
        yield from _account(account)
    yield from _network(seed.network)


def _account(account: Account) -> Iterator[tuple[str, str]]:
    yield "user", account.name
    if account.gecos:
        yield "gecos", account.gecos
    yield "shell", account.shell
    if account.is_root:
        yield "root", "yes"
    yield from (("group", group) for group in account.groups)
    yield from (("ssh_key", key) for key in account.keys)


def _network(network: Network) -> Iterator[tuple[str, str]]:
    """`set_name` comes first: the other keys are for the card under its new name."""
    if network.set_name is not None:
        yield "set_name", network.set_name
    if network.mtu is not None:
        yield "mtu", str(network.mtu)
    if network.dhcp4:
        yield "dhcp4", "yes"
    yield from (("address", address) for address in network.addresses)
    yield from (("route", _words(route)) for route in network.routes)
    yield from (("dns", address) for address in network.dns)
    if network.search:
        yield "search", " ".join(network.search)


def _words(route: Route) -> str:
    """In those of ip-route(8), which busybox's ip knows too."""
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"{route.to} via {route.via}{metric}{' onlink' if route.on_link else ''}"


def _line(key: str, value: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char != "\t" for char in value):
        raise ConfigurationError(f"{key}: has a control character or a line break", where=NAME)
    return f"{key}={value}\n"
