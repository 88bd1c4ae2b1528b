"""The values of the boot test: facts of a booted Pi by name, the promises of its manifest, and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from builder.model.bridge import StaticAddress
from builder.model.identity import Identity
from builder.model.settings import NodeSettings

Facts: TypeAlias = Mapping[str, str]
"""Text by name of the fact, without newlines at its end. It may have several lines."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The promises of a manifest's plan about the booted system.

    `edited`: the paths of the root volume that dpkg may find changed. `imported`: the base is a published image, and
    its publisher may have edited any conffile (pi-gen edits initramfs.conf, login.defs and others). `port_mac`: the
    address of the wired port of the machine that boots the image.
    """

    settings: NodeSettings
    identity: Identity
    boot_mount: str
    disk_id: str
    edited: frozenset[str]
    imported: bool
    guest: bool
    port_mac: str

    @property
    def address(self) -> StaticAddress | None:
        ipv4 = self.settings.bridge.ipv4
        return ipv4 if isinstance(ipv4, StaticAddress) else None


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str
    passed: bool
    found: str
    expected: str

    def describe(self) -> str:
        return f"{self.name}: {self.found}" if self.passed else f"{self.name}: {self.found}; expected {self.expected}"


Checks: TypeAlias = Callable[[Facts, Expected], Iterator[CheckResult]]


def equal(name: str, found: object, expected: object) -> CheckResult:
    """A result that passes when both are equal. It shows an empty text as `nothing`."""
    return CheckResult(name, found == expected, str(found) or "nothing", str(expected) or "nothing")


def number(text: str) -> int:
    """`text` as a whole number, or -1 when it is none, such as a tool's error message."""
    return int(text) if text.isdecimal() else -1
