"""Types of the values in profiles/, each with its one allowed form.

Sizes are in bytes (written `64GiB`, `512MiB`). A number is never taken for a text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from packaging.version import parse
from pydantic import BeforeValidator, Field

from builder.limits import GIB, KIB, MIB

Entry = TypeVar("Entry")

_UNITS = {"": 1, "K": KIB, "KiB": KIB, "M": MIB, "MiB": MIB, "G": GIB, "GiB": GIB, "T": 1024**4, "TiB": 1024**4}
_UNITS |= {"MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
"""Bytes by unit, as in coreutils. Disks are sold in powers of 1000."""
_SIZE = re.compile(r"(\d+)\s*([KMGT]|[KMGT]iB|[MGT]B)?")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def parse_size(value: object) -> object:
    """Bytes of a size such as `64GiB`. Raises ValueError for another text, and for a small number without a unit. A
    value of another type is returned unchanged; the schema refuses it."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) * _UNITS[match[2] or ""]
    if isinstance(value, str):
        raise ValueError("is not a size; write for example 64GiB or 512MiB")
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MIB:
        raise ValueError(f"would be {value} bytes; write {value}MiB or {value}GiB")
    return value


def entry_for(version: str, table: Mapping[str, Entry]) -> Entry | None:
    """The table's entry with the highest version that is not newer than `version`, or None when all are newer."""
    usable = [key for key in table if parse(key) <= parse(version)]
    return table[max(usable, key=parse)] if usable else None


def check_mac(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f'was read as the number {value}; a MAC address must be quoted: "52:54:00:12:34:56"')
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", value.lower()):
            raise ValueError('is not a MAC address such as "52:54:00:12:34:56"')
        if int(value[:2], 16) & 1:
            raise ValueError("is a multicast address; the first octet must be even")
        if not value.strip("0:"):
            raise ValueError("is no machine's address")
        return value.lower()
    return value


def check_interface(value: object) -> object:
    """An address with its prefix length, in the form that NetworkManager, networkd and dhcpcd read. A netmask becomes a
    prefix length. Raises ValueError for anything else."""
    if not isinstance(value, str):
        return value
    address, slash, length = value.partition("/")
    _check_machine(address)
    if ipaddress.IPv4Address(address).is_loopback:
        raise ValueError(f"{address} is this machine itself to every machine")
    if not slash:
        raise ValueError("needs its prefix length, such as 192.168.1.13/24")
    prefix = _prefix(length)
    if not 1 <= prefix <= 31:
        raise ValueError(f"has the prefix length {prefix}, which leaves room for no gateway; write 1 to 31, mostly 24")
    return f"{address}/{prefix}"


def _prefix(length: str) -> int:
    if re.fullmatch(r"0|[1-9]\d?", length):
        return int(length)
    try:
        mask = int(ipaddress.IPv4Address(length))
    except ValueError as error:
        raise ValueError(f"has {length!r} for a prefix length; write for example /24") from error
    prefix = f"{mask:032b}0".index("0")
    if mask != (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF:
        raise ValueError(f"has {length} for a netmask, which is none; write its prefix length, for example /24")
    return prefix


def check_ipv4(value: object) -> object:
    if isinstance(value, str):
        _check_machine(value)
    return value


def _check_machine(text: str) -> None:
    """Raises ValueError unless the text is the address of one machine, in a form that all programs read alike (some
    take `010` as eight)."""
    if ":" in text:
        raise ValueError(f"{text} is an IPv6 address, and an IPv4 address is wanted here")
    if "/" in text:
        raise ValueError(f"{text} has a prefix length, and an address alone is wanted here")
    if text != text.strip():
        raise ValueError("has a blank before or behind it")
    address = ipaddress.IPv4Address(text)
    if address.is_multicast or address.is_unspecified or address in _NOWHERE:
        raise ValueError(f"{text} is not the address of a machine in a network")


_NOWHERE = ipaddress.IPv4Network("240.0.0.0/4")
"""Reserved by RFC 1112, section 4. 255.255.255.255 is the broadcast address."""


_SHORTHANDS = "minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually"
_WEEKDAYS = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:(?:,|\.\.)(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun))*"
_CALENDAR = rf"{_SHORTHANDS}|(?:{_WEEKDAYS} )?(?:[\d*,./~-]+ )?[\d*,./]+:[\d*,./]+(?::[\d*,./]+)?"


def check_port(value: object) -> object:
    if isinstance(value, str) and value.startswith("wl"):
        raise ValueError(f"{value} is Wi-Fi, and an access point takes no bridged frames; use eth0")
    if isinstance(value, str) and not re.fullmatch(r"eth\d{1,3}", value):
        raise ValueError(f"{value} is not a wired port; the kernel's own names are kept, so a Pi's is eth0")
    return value


def of_form(pattern: str, fault: str) -> BeforeValidator:
    """A validator for texts that match the whole pattern. The error says `fault` and does not quote the text."""
    whole = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and not whole.fullmatch(value):
            raise ValueError(fault)
        return value

    return BeforeValidator(check)


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Share = Annotated[str, of_form(r"[1-9]?\d%", "is not a share such as 33%")]
Mac = Annotated[str, BeforeValidator(check_mac)]
Ipv4 = Annotated[str, BeforeValidator(check_ipv4)]
Ipv4Interface = Annotated[str, BeforeValidator(check_interface)]
Hostname = Annotated[str, Field(pattern=rf"^{LABEL}$")]
Domain = Annotated[str, Field(pattern=rf"^{LABEL}(\.{LABEL})*$", max_length=189)]
"""The limit leaves room for a host name of 63 letters and a dot: names have at most 253 (RFC 1035, section 2.3.4)."""
Timezone = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")]
Locale = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]+$")]
Calendar = Annotated[
    str,
    of_form(_CALENDAR, 'is not a calendar event such as "*:0/2", "Mon 03:00" or weekly (systemd-analyze calendar)'),
]
"""The common forms of systemd.time(7). A timer with a calendar that systemd cannot read would never run."""
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Origin = Annotated[
    str, of_form(r'[a-z]+=[^"\n=,;]+(,[a-z]+=[^"\n=,;]+)*', "is not of the form origin=Debian,label=Debian-Security")
]
"""A line of Unattended-Upgrade::Origins-Pattern (README of unattended-upgrades)."""
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, of_form(r"https?://[!-~]+", "is not a URL of http or https, in printable ASCII without blanks")]
ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
PublicKey = Annotated[
    str, of_form(rf"https?://\S+|{ARMOR}(?s:.*)", "is no OpenPGP public key: a URL, or file:PATH of one in armor")
]
SecretReference = Annotated[
    str, of_form(r"(env|file):\S.*|prompt", "is not a reference to a secret: env:NAME, file:PATH or prompt")
]
"""A reference, because profiles are kept and shared, and must not hold a secret."""
UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
