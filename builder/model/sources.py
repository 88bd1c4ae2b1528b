"""Where a base or a guest comes from: the archives of its packages, or a file that somebody publishes and signs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from builder.model.strict import Strict
from builder.model.values import Package, PublicKey, Sha256, Url


class AptSource(Strict):
    """One deb822 stanza (sources.list(5)). `keyring` is a file on the build host. `snapshots` are archives of what this
    one no longer has; `{timestamp}` in them becomes the time of the lock, as 20261124T000000Z."""

    uri: str
    suites: tuple[str, ...] = Field(min_length=1, strict=False)
    components: tuple[str, ...] = Field(min_length=1, strict=False)
    keyring: str
    snapshots: tuple[str, ...] = Field(default=(), strict=False)


class PackagesSource(Strict):
    """The system is bootstrapped from Debian packages."""

    kind: Literal["packages"]
    apt: tuple[AptSource, ...] = Field(min_length=1, strict=False)
    packages: tuple[str, ...] = Field(strict=False)


class Signer(Strict):
    """Of a published file: `fingerprint` of the primary key, and the `key`, in armor, or a URL where it can be fetched.
    That needs no trust: a key is known by its fingerprint."""

    fingerprint: str = Field(pattern=r"^[0-9A-F]{40}$")
    key: PublicKey


class PublishedFile(Strict):
    """A file at `urls`, of which any will do, with its `sha256` and, where it is known, its `size` in bytes.

    `unconfirmed`: the values are second-hand, or there is no hash, so that the first download asks what the publisher
    has put beside the file: its `checksum` and its detached `signature`, both named by what they add to the URL.
    """

    urls: tuple[Url, ...] = Field(min_length=1, strict=False)
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, gt=0)
    signer: Signer
    unconfirmed: bool = False
    checksum: Literal[".sha256", ".sha512"] = ".sha256"
    signature: Literal[".sig", ".asc"] = ".sig"

    @model_validator(mode="after")
    def _known_by_something(self) -> PublishedFile:
        if self.sha256 is None and not self.unconfirmed:
            raise ValueError("has no sha256; without one, say unconfirmed: true, and the signature decides once")
        return self


class ImageSource(PublishedFile):
    """The base is a published image, imported through the appliance; `extracted_…` are those of the raw image in the
    file. `host_programs` are archives with programs of the image's suite for the build host."""

    kind: Literal["image"]
    extracted_sha256: Sha256 | None = None
    extracted_size: int | None = Field(default=None, gt=0)
    host_programs: tuple[AptSource, ...] = Field(min_length=1, strict=False)


class InstallerSource(PublishedFile):
    """The guest is installed by the installer of an Alpine ISO, once, on the build host. `flavor` is its kernel's, as
    in /boot/vmlinuz-FLAVOR; `mirror` is where the packages come from, a folder for each of Alpine's branches;
    `packages` are wanted beside the installer's own."""

    kind: Literal["installer"]
    flavor: str = Field(pattern=r"^[a-z]+$")
    mirror: Url
    packages: tuple[Package, ...] = Field(default=(), strict=False)


class CloudImageSource(PublishedFile):
    """The guest is a published qcow2 without partitions: one ext4 filesystem that boots by BIOS. `flavor` as above."""

    kind: Literal["cloud-image"]
    flavor: str = Field(pattern=r"^[a-z]+$")


def archives_of(source: PackagesSource | PublishedFile) -> tuple[AptSource, ...]:
    """The Debian archives that a source takes packages from."""
    if isinstance(source, PackagesSource):
        return source.apt
    return source.host_programs if isinstance(source, ImageSource) else ()
