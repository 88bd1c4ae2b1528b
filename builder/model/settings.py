"""The strict schema of profiles/. Unknown keys, wrong types and impossible values are refused."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from builder.model.bridge import Bridge
from builder.model.cluster import User
from builder.model.guest_machine import GuestMachine
from builder.model.k3s import K3sAgent, K3sCluster, K3sNode, K3sServer
from builder.model.sources import CloudImageSource, ImageSource, InstallerSource, PackagesSource
from builder.model.strict import Strict
from builder.model.values import Domain, Hostname, Locale, Origin, Size, Timezone, Version, entry_for


class BootVolume(Strict):
    start: Size = Field(description="Place on the disk at which the partition begins.", examples=["8MiB"])
    size: Size = Field(description="Size of the partition.", examples=["512MiB"])
    label: str = Field(description="Label of the FAT filesystem.", examples=["bootfs"])
    mount: Literal["/boot", "/boot/firmware"] = Field(
        description="Folder in which the Pi mounts it.", examples=["/boot/firmware"]
    )
    sectors_per_cluster: Literal[1, 2, 4, 8] = Field(
        description="Sectors of 512 bytes in each cluster of the FAT.", examples=[1]
    )


class RootVolume(Strict):
    start: Size = Field(description="Place on the disk at which the partition begins.", examples=["520MiB"])
    label: str = Field(description="Label of the ext4 filesystem.", examples=["rootfs"])
    margin: Size = Field(
        description="Free room in the image, for the writes of the first boot before the filesystem has grown.",
        examples=["256MiB"],
    )
    features: str = Field(
        description="Features of ext4, as mke2fs -O takes them.", examples=["metadata_csum,64bit", "^64bit,^huge_file"]
    )
    mount_options: str = Field(description="Options with which /etc/fstab mounts it.", examples=["defaults,noatime"])


class Base(Strict):
    summary: str = Field(description="The system in a few words.", examples=["Debian 13 trixie arm64"])
    suite: str = Field(description="The suite of Debian on which the system is built.", examples=["trixie"])
    architecture: Literal["arm64"] = Field(description="Architecture, as Debian names it.", examples=["arm64"])
    source: PackagesSource | ImageSource = Field(
        discriminator="kind",
        description="The origin of the system: Debian's packages, or a published image.",
        examples=[
            {
                "kind": "packages",
                "apt": [
                    {
                        "uri": "http://deb.debian.org/debian",
                        "suites": ["trixie", "trixie-updates"],
                        "components": ["main", "non-free-firmware"],
                        "keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
                    }
                ],
                "packages": ["linux-image-arm64", "raspi-firmware"],
            }
        ],
    )
    boot: BootVolume = Field(
        description="The boot volume: the FAT partition from which the firmware reads.",
        examples=[
            {"start": "8MiB", "size": "512MiB", "label": "bootfs", "mount": "/boot/firmware", "sectors_per_cluster": 1}
        ],
    )
    root: RootVolume = Field(
        description="The root volume: the ext4 partition of the system. The first boot grows it.",
        examples=[
            {
                "start": "520MiB",
                "label": "rootfs",
                "margin": "256MiB",
                "features": "metadata_csum,64bit",
                "mount_options": "defaults,noatime",
            }
        ],
    )
    network: Literal["networkmanager", "networkd", "dhcpcd"] = Field(
        description="The program that configures the network.", examples=["networkmanager"]
    )
    swap_manager: Literal["none", "dphys-swapfile", "rpi-swap"] = Field(
        description="The base's own program that makes swap. The build switches it off.", examples=["none"]
    )
    growth: Literal["none", "firstboot-init", "resize-word"] = Field(
        description="The base's own way to grow the root volume. The build switches it off.", examples=["resize-word"]
    )
    first_user: Literal["none", "pi"] = Field(
        description="The account that the base brings along. The build replaces it.", examples=["none"]
    )
    firmware: Literal["raspi-firmware", "static"] = Field(
        description="The writer of config.txt and cmdline.txt: hooks of the package raspi-firmware, or nobody.",
        examples=["raspi-firmware"],
    )
    qemu: str = Field(
        pattern=r"^\d+\.\d+$", description="Version of the suite's QEMU, which runs the guest.", examples=["10.0"]
    )
    machine_id: Literal["empty", "uninitialized"] = Field(
        description="Content of the base's /etc/machine-id. "
        "With uninitialized systemd applies presets at the first boot.",
        examples=["empty"],
    )
    cloud_init: bool = Field(
        description="Whether the base has cloud-init. The build switches it off.", examples=[False]
    )
    mask: tuple[str, ...] = Field(
        strict=False,
        description="Units of systemd that must never start. Features mask further ones.",
        examples=[["rpi-eeprom-update.service"]],
    )
    groups: tuple[str, ...] = Field(
        strict=False,
        description="Groups of the account on the Pi. A group that the base does not have is left out.",
        examples=[["sudo", "video", "netdev"]],
    )
    security_origins: tuple[Origin, ...] = Field(
        default=(),
        strict=False,
        description="Archives of security updates, as unattended-upgrades matches them, for `updates: security`.",
        examples=[["origin=Debian,codename=trixie-security,label=Debian-Security"]],
    )


class AnswerDialect(Strict):
    """Answers for setup-alpine that differ between releases of Alpine."""

    keymap: str = Field(description="Words for setup-keymap.", examples=["us us", "none"])
    timezone: Literal["", "-z"] = Field(
        default="", description="Word for setup-timezone that stands before the zone.", examples=["-z"]
    )
    user: str | None = Field(
        default=None,
        description="Words for setup-user. Leave the key out for a release without setup-user.",
        examples=["none", "-h"],
    )
    sshd: str = Field(description="Words for setup-sshd.", examples=["openssh", "-c openssh"])
    ntp: str = Field(description="Words for setup-ntp.", examples=["none", "-c none"])
    root_key: Literal["SSH_KEY", "ROOTSSHKEY"] = Field(
        description="Variable from which the release reads root's ssh keys.", examples=["ROOTSSHKEY"]
    )


class Guest(Strict):
    """An x86_64 system disk without identity."""

    summary: str = Field(description="The system in a few words.", examples=["Alpine Linux 3.22 x86_64"])
    architecture: Literal["amd64"] = Field(description="Architecture, as Debian names it.", examples=["amd64"])
    release: str = Field(
        description="Release of the system, as its publisher writes it.", examples=["3.22.6", "trixie"]
    )
    source: PackagesSource | InstallerSource | CloudImageSource = Field(
        discriminator="kind",
        description="The origin of the system: Debian's packages, an installer's ISO, or a cloud image.",
        examples=[
            {
                "kind": "cloud-image",
                "urls": ["https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/cloud/NAME.qcow2"],
                "unconfirmed": True,
                "checksum": ".sha512",
                "signature": ".asc",
                "signer": {
                    "fingerprint": "0482D84022F52DF1C4E7CD43293ACD0907D9495A",
                    "key": "https://alpinelinux.org/keys/ncopa.asc",
                },
                "flavor": "virt",
            }
        ],
    )
    overlays: tuple[str, ...] = Field(
        strict=False,
        description="Folders of overlays/guests/ whose files are laid over the system.",
        examples=[["seed", "debian"]],
    )
    disk: Size = Field(
        description="Size of the guest's virtual disk. Its file starts small and grows.", examples=["128GiB"]
    )
    machine: str = Field(description="QEMU's machine, as its -machine takes it.", examples=["q35"])
    kernel_words: str | None = Field(
        default=None,
        description="Command line of a kernel that QEMU loads itself. Without the key the disk boots by BIOS.",
        examples=["root=LABEL=guest ro console=ttyS0,115200"],
    )
    cpu: dict[Version, str] = Field(
        description="QEMU's -cpu by version of QEMU. The highest version that is not newer than the QEMU counts.",
        examples=[{"5.2": "Nehalem,-cx16", "8.1": "Nehalem"}],
    )
    answers: dict[Version, AnswerDialect] | None = Field(
        default=None,
        description="Answers for setup-alpine by release of Alpine. The highest release that is not newer counts.",
        examples=[
            {"3.17": {"keymap": "none", "user": "none", "sshd": "openssh", "ntp": "none", "root_key": "ROOTSSHKEY"}}
        ],
    )
    user_data: tuple[Literal["bootcmd", "packages", "runcmd", "write_files"], ...] = Field(
        default=(),
        strict=False,
        description="Keys of cloud-init/user-data that the guest obeys, in addition to those of its name and accounts.",
        examples=[["bootcmd", "packages", "runcmd", "write_files"]],
    )

    def cpu_for(self, qemu: str) -> str | None:
        """The CPU model for a QEMU of this version, or None when all entries are for newer versions."""
        return entry_for(qemu, self.cpu)

    @property
    def answer_dialect(self) -> AnswerDialect | None:
        """The answers for the guest's release, or None for a guest that setup-alpine does not install."""
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


class NodeSettings(Strict):
    """A resolved node: the settings of cluster, base, role, preset and node, merged in this order. Later ones win.

    It has the keys that rooms below features/ read. Every other key belongs to one feature and is declared in its
    folder. builder.features.NODE_SETTINGS has all keys.
    """

    name: Hostname
    hostname: Hostname = Field(
        description="Host name of the Pi. Without the key it is the node's name.", examples=["node-003"]
    )
    cluster: Hostname
    domain: Domain
    timezone: Timezone
    locale: Locale
    role: str = Field(
        description="A file in profiles/roles/. Without the key the command line or cluster.yaml says which.",
        examples=["worker"],
    )
    base: str = Field(
        description="A file in profiles/bases/. Without the key the command line or cluster.yaml says which.",
        examples=["debian-trixie"],
    )
    guest: str = Field(
        description="The guest: a file in profiles/guests/, default for the guest that the base names, or none.",
        examples=["default", "alpine-cloud", "none"],
    )
    user: User
    k3s_cluster: K3sCluster | None = None
    k3s: K3sNode | None = Field(
        default=None,
        description="Part of the node in the k3s cluster of cluster.yaml; null keeps it out of the cluster.",
        examples=[{"runs": "agent", "labels": {"pimu.io/emulated": "true"}, "taints": []}, None],
    )
    bridge: Bridge = Field(
        description="The bridge br0, which puts the Pi and its guest on one wire.",
        examples=[{"port": "eth0", "mac": "derived", "ipv4": "dhcp"}],
    )
    machine: GuestMachine | None = Field(
        description="The virtual machine of the guest; null where there is no guest.",
        examples=[{"memory": "auto", "cpus": 3, "tb_size": "256MiB", "stop_timeout": 300, "mac": "derived"}, None],
    )
    guest_hostname: Hostname = Field(
        description="Host name of the guest. Without the key node-003 has k3s-003.", examples=["k3s-003"]
    )

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
