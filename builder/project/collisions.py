"""Refuse two machines of a project with the same name, address or disk id: in one network neither would work."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from builder.errors import ConfigurationError
from builder.model.bridge import StaticAddress
from builder.model.identity import Identity, identity_of
from builder.profile import Resolved

_DERIVED = "derived"
_DISK_ID = "disk id"


class _Claim(NamedTuple):
    """A value that must be unique. `key` is the setting that gives it, or "" for a derived value."""

    what: str
    value: str
    key: str


def distinct_identities(nodes: Sequence[Resolved], with_file: Collection[str]) -> dict[str, Identity]:
    """Identities by node name. `with_file` are the nodes with a file in profiles/nodes/, for the error's place. Raises
    ConfigurationError when two nodes share a value."""
    identities: dict[str, Identity] = {}
    owners: dict[tuple[str, str], tuple[str, str]] = {}
    for node in nodes:
        name = node.settings.name
        identities[name] = identity_of(node.settings)
        for claim in _claims(node, identities[name]):
            place = _place(node, claim, with_file)
            if (claim.what, claim.value) in owners:
                raise _collision(claim, (name, place), owners[claim.what, claim.value])
            owners[claim.what, claim.value] = (name, place)
    return identities


def _claims(node: Resolved, identity: Identity) -> Iterator[_Claim]:
    settings = node.settings
    yield _given_or_derived(node, "host name", settings.hostname, "hostname")
    yield _Claim(_DISK_ID, identity.partuuid, "")
    if identity.bridge_mac is not None:
        yield _Claim("MAC address", identity.bridge_mac, "" if settings.bridge.mac == "derived" else "bridge.mac")
    if isinstance(settings.bridge.ipv4, StaticAddress):
        yield _Claim("address", settings.bridge.ipv4.address.partition("/")[0], "bridge.ipv4.address")
    if settings.machine is not None and node.guest is not None:
        yield _given_or_derived(node, "host name", settings.guest_hostname, "guest_hostname")
        yield _Claim("MAC address", identity.guest_mac, "" if settings.machine.mac == "derived" else "machine.mac")


def _given_or_derived(node: Resolved, what: str, value: str, key: str) -> _Claim:
    return _Claim(what, value, key if node.origins.mark(key).line else "")


def _place(node: Resolved, claim: _Claim, with_file: Collection[str]) -> str:
    if claim.key:
        return node.origins.of(claim.key)
    return f"profiles/nodes/{node.settings.name}.yaml" if node.settings.name in with_file else _DERIVED


def _collision(claim: _Claim, *owners: tuple[str, str]) -> ConfigurationError:
    """The error, at a place that the user can edit, if there is one."""
    (name, place), (other, other_place) = sorted(owners, key=lambda owner: owner[1] == _DERIVED)
    hint = "rename one of them" if claim.what == _DISK_ID else "give one of them another in its file in profiles/nodes/"
    text = f"{claim.what} {claim.value} of {name} is also that of {other} ({other_place})"
    return ConfigurationError(text, where="" if place == _DERIVED else place, hint=hint)
