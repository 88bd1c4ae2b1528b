"""What profiles/ may say, as one strict schema. Unknown keys, wrong types and impossible values are refused.

Sizes are bytes (written `64GiB`, `512MiB`); strings are never guessed from numbers.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_UNITS = {"": 1, "K": KIB, "KiB": KIB, "M": MIB, "MiB": MIB, "G": GIB, "GiB": GIB, "T": 1024**4, "TiB": 1024**4}
_SIZE = re.compile(r"(\d+)\s*([KMGT](?:iB)?)?")
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
_CALENDAR = re.compile(rf"{_SHORTHANDS}|(?:{_WEEKDAYS} )?(?:[\d*,./~-]+ )?[\d*,./]+:[\d*,./]+(?::[\d*,./]+)?")


def check_calendar(value: object) -> object:
    """The forms of systemd.time(7) that a person writes: a timer that systemd cannot read would never elapse."""
    if isinstance(value, str) and not _CALENDAR.fullmatch(value):
        raise ValueError('is not a calendar event such as "*:0/2", "Mon 03:00" or weekly (systemd-analyze calendar)')
    return value


def check_port(value: object) -> object:
    if isinstance(value, str) and value.startswith("wl"):
        raise ValueError(f"{value} is Wi-Fi, and an access point takes no bridged frames; use eth0")
    if isinstance(value, str) and not re.fullmatch(r"eth\d{1,3}", value):
        raise ValueError(f"{value} is not a wired port; the kernel's own names are kept, so a Pi's is eth0")
    return value


def check_share(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[1-9]?\d%", value):
        raise ValueError("is not a share such as 33%")
    return value


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Share = Annotated[str, BeforeValidator(check_share)]
Mac = Annotated[str, BeforeValidator(check_mac)]
Ipv4 = Annotated[str, BeforeValidator(check_ipv4)]
Ipv4Interface = Annotated[str, BeforeValidator(check_interface)]
Hostname = Annotated[str, Field(pattern=rf"^{LABEL}$")]
Domain = Annotated[str, Field(pattern=rf"^{LABEL}(\.{LABEL})*$")]
Timezone = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")]
Locale = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]+$")]
Calendar = Annotated[str, BeforeValidator(check_calendar)]
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AptSource(Strict):
    """One deb822 stanza (sources.list(5)). `keyring` is a file on the build host."""

    uri: str
    suites: tuple[str, ...] = Field(min_length=1, strict=False)
    components: tuple[str, ...] = Field(min_length=1, strict=False)
    keyring: str


class PackagesSource(Strict):
    """The base is bootstrapped from packages."""

    kind: Literal["packages"]
    apt: tuple[AptSource, ...] = Field(min_length=1, strict=False)
    packages: tuple[str, ...] = Field(strict=False)


class ImageSource(Strict):
    """The base is a published image, imported through the appliance. `pin` comes with the download of images."""

    kind: Literal["image"]
    pin: str | None = None


class BootVolume(Strict):
    start: Size
    size: Size
    label: str
    mount: Literal["/boot", "/boot/firmware"]
    sectors_per_cluster: Literal[1, 2, 4, 8]


class RootVolume(Strict):
    start: Size
    label: str
    margin: Size
    features: str
    mount_options: str


class Base(Strict):
    summary: str
    suite: str
    architecture: Literal["arm64"]
    source: PackagesSource | ImageSource = Field(discriminator="kind")
    boot: BootVolume
    root: RootVolume
    network: Literal["networkmanager", "networkd", "dhcpcd"]
    swap_manager: Literal["none", "dphys-swapfile", "rpi-swap"]
    growth: Literal["none", "firstboot-init", "resize-word"]
    first_user: Literal["none", "pi"]
    firmware: Literal["raspi-firmware", "static"]
    qemu: str = Field(pattern=r"^\d+\.\d+$")
    machine_id: Literal["empty", "uninitialized"]
    cloud_init: bool
    mask: tuple[str, ...] = Field(strict=False)
    groups: tuple[str, ...] = Field(strict=False)


class Guest(Strict):
    """An x86_64 system disk without identity."""

    summary: str
    architecture: Literal["amd64"]
    suite: str
    source: PackagesSource
    disk: Size
    machine: str
    kernel_words: str | None = None
    """For a kernel that QEMU loads itself; None for a disk that boots by BIOS."""
    cpu: dict[str, str]
    """`-cpu` by QEMU version: the value of the highest key that is <= the base's QEMU."""


class Overclock(Strict):
    arm_freq: int = Field(ge=600, le=2500)
    over_voltage: int = Field(ge=-16, le=8)
    force_turbo: Literal["sets-the-warranty-bit"] | None = None

    @model_validator(mode="after")
    def _warranty(self) -> Overclock:
        if self.over_voltage > 6 and self.force_turbo is None:
            raise ValueError(
                f"over_voltage {self.over_voltage} works only with force_turbo, which sets the warranty bit for good; "
                "use 6 or less, or say force_turbo: sets-the-warranty-bit"
            )
        return self


class Swap(Strict):
    size: Size = Field(ge=64 * MIB)
    reserve: Share | Size = Field(description="room left for the guest's disk: a share of the SSD, or a size")


class Trim(Strict):
    calendar: Calendar
    enclosures: tuple[UsbId, ...] = Field(strict=False)


class StaticAddress(Strict):
    address: Ipv4Interface
    gateway: Ipv4
    dns: tuple[Ipv4, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _reachable(self) -> StaticAddress:
        interface, gateway = ipaddress.IPv4Interface(self.address), ipaddress.IPv4Address(self.gateway)
        network = interface.network
        if gateway not in network:
            raise ValueError(f"gateway {self.gateway} is not in the network of {self.address}")
        if interface.ip == gateway:
            raise ValueError(f"{self.address} is the gateway's own address")
        if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
            raise ValueError(f"{self.address} is the address of a network, not of a machine")
        return self


class Bridge(Strict):
    port: Annotated[str, BeforeValidator(check_port)]
    mac: Literal["derived", "inherit"] | Mac
    ipv4: Literal["dhcp"] | StaticAddress


class GuestMachine(Strict):
    """How the role runs its guest. `memory` is `auto` or a size."""

    memory: Literal["auto"] | Annotated[Size, Field(ge=256 * MIB)]
    cpus: int = Field(ge=1, le=4)
    tb_size: Size = Field(ge=32 * MIB)
    stop_timeout: int = Field(ge=10, le=3600, description="seconds to wait for a clean power-down")
    mac: Literal["derived"] | Mac


class User(Strict):
    name: str = Field(pattern=r"^[a-z_][a-z0-9_-]{0,30}$")
    ssh_keys: tuple[str, ...] = Field(strict=False)
    password: str | None = Field(default=None, pattern=r"^(env|file):.+$", description="reference to a crypt(5) hash")


class Cluster(Strict):
    """What all nodes share. `base` and `role` hold unless a node's file or the command line says otherwise."""

    name: Hostname
    domain: Domain
    timezone: Timezone
    locale: Locale
    base: str
    role: str | None = None
    user: User


class NodeSettings(Strict):
    """A node, resolved: base < role < node merged as mappings, with the cluster's values."""

    name: Hostname
    hostname: Hostname
    cluster: Hostname
    domain: Domain
    timezone: Timezone
    locale: Locale
    role: str
    base: str
    guest: str
    user: User
    packages: dict[Package, bool]
    overclock: Overclock | None
    swap: Swap | None
    trim: Trim
    bridge: Bridge
    machine: GuestMachine | None
    guest_hostname: Hostname

    @field_validator("machine")
    @classmethod
    def _guest_has_a_machine(cls, machine: GuestMachine | None, info: ValidationInfo) -> GuestMachine | None:
        guest = info.data.get("guest", "none")
        if guest != "none" and machine is None:
            raise ValueError(f"guest {guest} needs a machine to run in; without a guest, say guest: none")
        return machine
