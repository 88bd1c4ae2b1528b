"""Where a base or a guest comes from: the archives of its packages, or a file that somebody publishes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from builder.model.strict import Strict
from builder.model.values import Package, Sha256, Url


class AptSource(Strict):
    """One deb822 stanza (sources.list(5)). `keyring` is a file on the build host. `snapshots` are archives of what this
    one no longer has; `{timestamp}` in them becomes the time of the lock, as 20261124T000000Z."""

    uri: str
    suites: tuple[str, ...] = Field(min_length=1, strict=False)
    components: tuple[str, ...] = Field(min_length=1, strict=False)
    keyring: str
    snapshots: tuple[str, ...] = Field(default=(), strict=False)


class PackagesSource(Strict):
    """The base is bootstrapped from packages."""

    kind: Literal["packages"]
    apt: tuple[AptSource, ...] = Field(min_length=1, strict=False)
    packages: tuple[str, ...] = Field(strict=False)


class Signer(Strict):
    """Of a published image: `fingerprint` of the primary key, and `key` where that key can be fetched, which needs no
    trust: a key is known by its fingerprint."""

    fingerprint: str = Field(pattern=r"^[0-9A-F]{40}$")
    key: Url


class ImageSource(Strict):
    """The base is a published image, imported through the appliance. `size` and `sha256` are those of the file at
    `urls`, `extracted_…` of the raw image in it.

    `unconfirmed`: the values are second-hand, so that the first download asks the publisher's .sha256 and .sig files,
    which lie beside it. `host_programs` are archives with programs of the image's suite for the build host.
    """

    kind: Literal["image"]
    urls: tuple[Url, ...] = Field(min_length=1, strict=False)
    sha256: Sha256
    size: int | None = Field(default=None, gt=0)
    extracted_sha256: Sha256 | None = None
    extracted_size: int | None = Field(default=None, gt=0)
    signer: Signer
    unconfirmed: bool = False
    host_programs: tuple[AptSource, ...] = Field(min_length=1, strict=False)


class InstallerSource(Strict):
    """The guest is installed by the installer of an Alpine ISO, once, on the build host. `flavor` is its kernel's, as
    in /boot/vmlinuz-FLAVOR; `mirror` is where the packages come from, a folder for each of Alpine's branches;
    `packages` are wanted beside the installer's own. `urls` to `unconfirmed` are as a base's image has them;
    `signature` is what the name of the detached one has more."""

    kind: Literal["installer"]
    urls: tuple[Url, ...] = Field(min_length=1, strict=False)
    sha256: Sha256
    size: int | None = Field(default=None, gt=0)
    signer: Signer
    unconfirmed: bool = False
    signature: Literal[".sig", ".asc"] = ".sig"
    flavor: str = Field(pattern=r"^[a-z]+$")
    mirror: Url
    packages: tuple[Package, ...] = Field(default=(), strict=False)
