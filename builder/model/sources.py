"""The sources of a base or a guest: the archives of its packages, or a file that somebody publishes and signs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from builder.model.strict import Strict
from builder.model.values import Package, PublicKey, Sha256, Url, of_form

AptWord = Annotated[str, of_form(r"[A-Za-z0-9][A-Za-z0-9._/+~-]*", "is not a name of a suite or a component")]
Keyring = Annotated[
    str, of_form(r"[A-Za-z0-9/][A-Za-z0-9._/+-]*", "is not the path of a keyring, in letters, digits and ._+-/")
]
"""Each goes into a stanza of sources.list(5). A line end in one would begin another field there, such as
`Trusted: yes`, with which apt takes unsigned archives."""


class AptSource(Strict):
    """One deb822 stanza (sources.list(5))."""

    uri: Url = Field(description="Address of the archive.", examples=["http://deb.debian.org/debian"])
    suites: tuple[AptWord, ...] = Field(
        min_length=1, strict=False, description="Suites of the archive.", examples=[["trixie", "trixie-updates"]]
    )
    components: tuple[AptWord, ...] = Field(
        min_length=1, strict=False, description="Components of the suites.", examples=[["main", "non-free-firmware"]]
    )
    keyring: Keyring = Field(
        description="File on the build host with the public keys that sign the archive.",
        examples=["/usr/share/keyrings/debian-archive-keyring.gpg"],
    )
    snapshots: tuple[Url, ...] = Field(
        default=(),
        strict=False,
        description="Archives that keep packages after this one has dropped them. {timestamp} becomes the time of the "
        "lock, as 20261124T000000Z.",
        examples=[["http://snapshot.debian.org/archive/debian/{timestamp}"]],
    )


class PackagesSource(Strict):
    """The system is bootstrapped from Debian packages."""

    kind: Literal["packages"] = Field(
        description="The system is bootstrapped from Debian packages.", examples=["packages"]
    )
    apt: tuple[AptSource, ...] = Field(
        min_length=1,
        strict=False,
        description="Archives of the packages.",
        examples=[
            [
                {
                    "uri": "http://deb.debian.org/debian",
                    "suites": ["trixie", "trixie-updates"],
                    "components": ["main"],
                    "keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
                }
            ]
        ],
    )
    packages: tuple[str, ...] = Field(
        strict=False,
        description="Packages beside the essential ones. Recommended packages are not installed.",
        examples=[["linux-image-arm64", "openssh-server"]],
    )


class Signer(Strict):
    """The OpenPGP key that signs a published file."""

    fingerprint: str = Field(
        pattern=r"^[0-9A-F]{40}$",
        description="Fingerprint of the primary key: 40 hexadecimal digits, in capitals.",
        examples=["0482D84022F52DF1C4E7CD43293ACD0907D9495A"],
    )
    key: PublicKey = Field(
        description="The public key: file:PATH of one in armor, or a URL. The URL needs no trust: the fingerprint "
        "tells whether the key is right.",
        examples=["https://alpinelinux.org/keys/ncopa.asc"],
    )
    accept_expired: bool = Field(
        default=False,
        description="Whether a signature counts although the key has expired: some publishers go on to sign with it.",
        examples=[True],
    )


class PublishedFile(Strict):
    """A file that somebody publishes and signs."""

    urls: tuple[Url, ...] = Field(
        min_length=1,
        strict=False,
        description="Addresses of the file. The first that answers serves.",
        examples=[["https://downloads.raspberrypi.com/raspios_lite_arm64/images/NAME.img.xz"]],
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="Digest of the file. Without it, unconfirmed: true is needed.",
        examples=["cdf4f3bfac35ae947b46e4e767f935453810549779ac3290e05a6754aee627e5"],
    )
    size: int | None = Field(default=None, gt=0, description="Size of the file in bytes.", examples=[523456789])
    signer: Signer = Field(
        description="The OpenPGP key that signs the file.",
        examples=[
            {
                "fingerprint": "0482D84022F52DF1C4E7CD43293ACD0907D9495A",
                "key": "https://alpinelinux.org/keys/ncopa.asc",
            }
        ],
    )
    unconfirmed: bool = Field(
        default=False,
        description="Whether the digest is second-hand or missing. The first download then asks for the publisher's "
        "checksum and signature beside the file, and pimu.lock keeps the result.",
        examples=[True],
    )
    checksum: Literal[".sha256", ".sha512"] = Field(
        default=".sha256", description="Ending that the URL of the checksum has more.", examples=[".sha512"]
    )
    signature: Literal[".sig", ".asc"] = Field(
        default=".sig", description="Ending that the URL of the detached signature has more.", examples=[".asc"]
    )

    @model_validator(mode="after")
    def _known_by_something(self) -> PublishedFile:
        if self.sha256 is None and not self.unconfirmed:
            raise ValueError("has no sha256; without one, say unconfirmed: true, and the signature decides once")
        return self


class ImageSource(PublishedFile):
    """The base is a published image, imported through the appliance."""

    kind: Literal["image"] = Field(
        description="The system is imported from a published disk image.", examples=["image"]
    )
    extracted_sha256: Sha256 | None = Field(
        default=None,
        description="Digest of the raw image in the file.",
        examples=["49fafba626ec00e0f9800349b9edae6caf8cfc223f673b875b72ac2797ed9576"],
    )
    extracted_size: int | None = Field(
        default=None, gt=0, description="Size of the raw image in the file, in bytes.", examples=[3061841920]
    )
    host_programs: tuple[AptSource, ...] = Field(
        min_length=1,
        strict=False,
        description="Archives with programs of the image's suite for the build host. These stand in for emulated "
        "programs while packages are configured.",
        examples=[
            [
                {
                    "uri": "http://deb.debian.org/debian",
                    "suites": ["trixie", "trixie-updates"],
                    "components": ["main"],
                    "keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
                }
            ]
        ],
    )


class InstallerSource(PublishedFile):
    """The guest is installed by the installer of an Alpine ISO, once, on the build host."""

    kind: Literal["installer"] = Field(
        description="The system is installed once from an Alpine ISO, on the build host.", examples=["installer"]
    )
    flavor: str = Field(
        pattern=r"^[a-z]+$", description="Flavour of the kernel, as in /boot/vmlinuz-virt.", examples=["virt"]
    )
    mirror: Url = Field(
        description="Mirror of the packages. It has a folder for each branch of Alpine.",
        examples=["https://dl-cdn.alpinelinux.org/alpine"],
    )
    packages: tuple[Package, ...] = Field(
        default=(),
        strict=False,
        description="Packages beside those that the installer chooses.",
        examples=[["chrony", "curl"]],
    )


class CloudImageSource(PublishedFile):
    """The guest is a published qcow2 without partitions: one ext4 filesystem that boots by BIOS."""

    kind: Literal["cloud-image"] = Field(
        description="The system is a published qcow2 without partitions: one ext4 filesystem that boots by BIOS.",
        examples=["cloud-image"],
    )
    flavor: str = Field(
        pattern=r"^[a-z]+$", description="Flavour of the kernel, as in /boot/vmlinuz-virt.", examples=["virt"]
    )


def archives_of(source: PackagesSource | PublishedFile) -> tuple[AptSource, ...]:
    """The Debian archives that a source takes packages from."""
    if isinstance(source, PackagesSource):
        return source.apt
    return source.host_programs if isinstance(source, ImageSource) else ()
