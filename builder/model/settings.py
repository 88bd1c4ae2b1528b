"""What profiles/ may say, as one strict schema. Unknown keys, wrong types and impossible values are refused."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from builder.model.hardware import Overclock, Pi, Swap, Trim
from builder.model.k3s import K3sAgent, K3sCluster, K3sNode, K3sServer
from builder.model.sources import CloudImageSource, ImageSource, InstallerSource, PackagesSource
from builder.model.strict import Strict
from builder.model.values import (
    GIB,
    MIB,
    Domain,
    Hostname,
    Ipv4,
    Ipv4Interface,
    Locale,
    Mac,
    Package,
    SecretReference,
    Size,
    Timezone,
    Version,
    check_port,
    entry_for,
)


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


class AnswerDialect(Strict):
    """How the setup-alpine of an Alpine release is answered, where releases differ: the words that it hands to each of
    its helpers, and the variable of root's ssh keys. `timezone` stands before the zone. Without `user` there is no
    helper that would ask for one."""

    keymap: str
    timezone: Literal["", "-z"] = ""
    user: str | None = None
    sshd: str
    ntp: str
    root_key: Literal["SSH_KEY", "ROOTSSHKEY"]


class Guest(Strict):
    """An x86_64 system disk without identity. `release` is the system's, as its publisher writes it."""

    summary: str
    architecture: Literal["amd64"]
    release: str
    source: PackagesSource | InstallerSource | CloudImageSource = Field(discriminator="kind")
    overlays: tuple[str, ...] = Field(strict=False)
    """Folders of overlays/guests/ that are laid over the system."""
    disk: Size
    machine: str
    kernel_words: str | None = None
    """For a kernel that QEMU loads itself; None for a disk that boots by BIOS."""
    cpu: dict[Version, str]
    """`-cpu` by QEMU version: the value of the highest key that is <= the QEMU that runs it."""
    answers: dict[Version, AnswerDialect] | None = None
    """For setup-alpine, by Alpine release, as `cpu` by QEMU version."""

    def cpu_for(self, qemu: str) -> str | None:
        """The CPU model for a QEMU of this version; None when all that are known are for newer ones."""
        return entry_for(qemu, self.cpu)

    @property
    def answer_dialect(self) -> AnswerDialect | None:
        """None when setup-alpine is not what installs it."""
        return None if self.answers is None else entry_for(self.release, self.answers)

    @field_validator("answers")
    @classmethod
    def _answers_are_for_the_release(
        cls, answers: dict[str, AnswerDialect] | None, info: ValidationInfo
    ) -> dict[str, AnswerDialect] | None:
        if answers is None or not {"release", "source"} <= info.data.keys():
            return answers
        release = info.data["release"]
        if not isinstance(info.data["source"], InstallerSource):
            raise ValueError("are for an installer, and source is of another kind")
        if not re.fullmatch(r"\d+(\.\d+)+", release):
            raise ValueError(f"are for a release of Alpine such as 3.24.2, and {release} is none")
        if entry_for(release, answers) is None:
            raise ValueError(f"none is for Alpine {release} or older")
        return answers


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
    password: SecretReference | None = Field(default=None, description="of a crypt(5) hash")


class Cluster(Strict):
    """What all nodes share. `base` and `role` hold unless a node's file or the command line says otherwise."""

    name: Hostname
    domain: Domain
    timezone: Timezone
    locale: Locale
    base: str
    role: str | None = None
    user: User
    k3s: K3sCluster | None = None


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
    pi: Pi | None = Field(default=None, description="the model; unknown, its memory is not reckoned with")
    ssd: Size | None = Field(default=None, ge=4 * GIB, description="as it is sold; unknown, likewise")
    user: User
    k3s_cluster: K3sCluster | None = None
    k3s: K3sNode | None = None
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

    @field_validator("k3s")
    @classmethod
    def _runs_where_it_can(cls, k3s: K3sNode | None, info: ValidationInfo) -> K3sNode | None:
        guest = info.data.get("guest", "none")
        if isinstance(k3s, K3sAgent) and guest == "none":
            raise ValueError("an agent is the guest, and there is none; without a guest, say k3s: null")
        if isinstance(k3s, K3sServer) and guest != "none":
            raise ValueError(f"a server is the Pi itself, whose memory guest {guest} would take; say guest: none")
        return k3s
