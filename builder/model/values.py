"""The values that profiles/ are made of, each with the one way in which it may be written.

Sizes are bytes (written `64GiB`, `512MiB`); strings are never guessed from numbers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field

Entry = TypeVar("Entry")

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_UNITS = {"": 1, "K": KIB, "KiB": KIB, "M": MIB, "MiB": MIB, "G": GIB, "GiB": GIB, "T": 1024**4, "TiB": 1024**4}
_UNITS |= {"MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
"""As coreutils has them; disks are sold by the thousand."""
_SIZE = re.compile(r"(\d+)\s*([KMGT]|[KMGT]iB|[MGT]B)?")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def parse_size(value: object) -> object:
    """Bytes of a size such as `64GiB`; anything else is returned for the schema to refuse."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) * _UNITS[match[2] or ""]
    if isinstance(value, str):
        raise ValueError("is not a size; write for example 64GiB or 512MiB")
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MIB:
        raise ValueError(f"would be {value} bytes; write {value}MiB or {value}GiB")
    return value


def as_numbers(version: str) -> tuple[int, ...]:
    """`8.1` as numbers, which compare as versions do."""
    return tuple(int(part) for part in version.split("."))


def entry_for(version: str, table: Mapping[str, Entry]) -> Entry | None:
    """Of a table by version the entry of the highest key that is not newer; None when all are."""
    usable = [key for key in table if as_numbers(key) <= as_numbers(version)]
    return table[max(usable, key=as_numbers)] if usable else None


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
    if isinstance(value, str):
        ipaddress.IPv4Interface(value)
        if "/" not in value:
            raise ValueError("needs its prefix length, such as 192.168.1.13/24")
    return value


def check_ipv4(value: object) -> object:
    if isinstance(value, str):
        ipaddress.IPv4Address(value)
    return value


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
    """Text that the pattern matches as a whole; else the error says `fault`, and not the text."""
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
Domain = Annotated[str, Field(pattern=rf"^{LABEL}(\.{LABEL})*$")]
Timezone = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")]
Locale = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]+$")]
Calendar = Annotated[
    str,
    of_form(_CALENDAR, 'is not a calendar event such as "*:0/2", "Mon 03:00" or weekly (systemd-analyze calendar)'),
]
"""In the forms of systemd.time(7) that a person writes: a timer that systemd cannot read would never elapse."""
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
PublicKey = Annotated[
    str, of_form(rf"https?://\S+|{ARMOR}(?s:.*)", "is no OpenPGP public key: a URL, or file:PATH of one in armor")
]
SecretReference = Annotated[
    str, of_form(r"(env|file):\S.*|prompt", "is not a reference to a secret: env:NAME, file:PATH or prompt")
]
"""A secret itself must not be in a profile, which is kept and shared."""
UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
