"""seed.conf: the file on a guest's seed disk that the guest's own scripts read instead of cloud-init's YAML.

Each line is `key=value`; a key may be repeated. The account's keys come after its line `user=NAME`. Values have no
control characters, and the scripts take them as data (overlays/guests/seed/root/usr/lib/pimu).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from builder.errors import ConfigurationError
from builder.model.guest_seed import Account, GuestSeed, Network, Route

NAME = "seed.conf"


def to_text(seed: GuestSeed) -> str:
    """The text of seed.conf. Raises ConfigurationError for a value that is not one line."""
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
    """Keys and values. `set_name` comes first: the scripts apply the other keys to the card under its new name."""
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
    """The route in the words of ip-route(8). busybox's ip takes them too."""
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"{route.to} via {route.via}{metric}{' onlink' if route.on_link else ''}"


def _line(key: str, value: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char != "\t" for char in value):
        raise ConfigurationError(f"{key}: has a control character or a line break", where=NAME)
    return f"{key}={value}\n"
