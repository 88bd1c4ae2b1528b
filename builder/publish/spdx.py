"""The software bill of materials of an image: SPDX 2.3 in JSON (spdx.github.io/spdx-spec/v2.3), of the image alone.

The image contains the packages of the Pi and the guest's disk, which contains those of the guest; what the image was
made from (a published base, an installer's ISO) and k3s are there where the lock names them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import builder
from builder.model.lock import Deb, LockedFile, LockedImage, Resolution, of_data
from builder.model.manifest import FileState, Manifest
from builder.publish.licences import spdx_licence
from builder.publish.packages import Installed, Package, System, guest_disk
from builder.publish.purl import k3s_purl, package_purl, vendor_of
from builder.publish.timestamp import timestamp

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pimu-build/spdx")
_UNKNOWN = "NOASSERTION"
_SUPPLIERS = {
    "debian": "Organization: Debian",
    "raspberrypi": "Organization: Raspberry Pi Ltd",
    "raspbian": "Organization: Raspbian",
    "alpine": "Organization: Alpine Linux",
}
_DOCUMENT, _IMAGE, _GUEST_DISK = "SPDXRef-DOCUMENT", "SPDXRef-image", "SPDXRef-guest-disk"


@dataclass(frozen=True, slots=True)
class _Lock:
    """The lock of a manifest: .debs by name, version and architecture, images and files by name."""

    debs: Mapping[tuple[str, str, str], Deb]
    images: Mapping[str, LockedImage]
    files: Mapping[str, LockedFile]

    @classmethod
    def of(cls, manifest: Manifest) -> _Lock:
        locked = {name: of_data(data, f"manifest of {manifest.node}: {name}") for name, data in manifest.lock.items()}
        debs = [deb for one in locked.values() if isinstance(one, Resolution) for deb in one.debs]
        return cls(
            {(deb.name, deb.version, deb.architecture): deb for deb in debs},
            {name: one for name, one in locked.items() if isinstance(one, LockedImage)},
            {name: one for name, one in locked.items() if isinstance(one, LockedFile)},
        )

    def deb(self, package: Package) -> Deb | None:
        return self.debs.get((package.name, package.version, package.architecture))


@dataclass(frozen=True, slots=True)
class _Part:
    """An element of the document, `key`, and what it is to another one, as SPDX says it: `whole` `relation` `key`."""

    key: str
    data: dict[str, Any]
    whole: str
    relation: str


def sbom(manifest: Manifest, installed: Installed, image_sha256: str = "") -> bytes:
    """NODE.spdx.json: the same bytes for the same image, whenever and wherever it is made. `image_sha256` is that of
    the raw image where somebody has hashed it.

    Raises ConfigurationError when the manifest's lock is damaged.
    """
    parts = list(_parts(manifest, installed, image_sha256))
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": f"{manifest.node}.img",
        "creationInfo": {
            "created": timestamp(installed.epoch),
            "creators": [f"Tool: pimu-build-{builder.__version__}"],
        },
        "packages": sorted(({"SPDXID": part.key, **part.data} for part in parts), key=lambda one: str(one["SPDXID"])),
        "relationships": [
            {"spdxElementId": part.whole, "relationshipType": part.relation, "relatedSpdxElement": part.key}
            for part in sorted(parts, key=lambda part: (part.whole, part.relation, part.key))
        ],
    }
    # Of all that it says: no two documents may have one namespace, not of one image either (SPDX 2.3, 6.5).
    namespace = uuid.uuid5(_NAMESPACE, f"{manifest.image.digest} {_json(document)}")
    return f"{_json(document | {'documentNamespace': f'https://pimu-build/spdx/{namespace}'})}\n".encode()


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)


def _parts(manifest: Manifest, installed: Installed, image_sha256: str) -> Iterator[_Part]:
    lock, disk = _Lock.of(manifest), guest_disk(manifest)
    yield _Part(_IMAGE, _image(manifest, image_sha256), _DOCUMENT, "DESCRIBES")
    for name, file in lock.files.items():
        yield _Part(_file_id(name), _locked_file(name, file), _IMAGE, "CONTAINS")
    for key, data in _packages("pi", installed.pi, lock):
        yield _Part(key, data, _IMAGE, "CONTAINS")
    if disk is not None and installed.guest is not None:
        yield _Part(_GUEST_DISK, _guest_disk(disk), _IMAGE, "CONTAINS")
        for key, data in _packages("guest", installed.guest, lock):
            yield _Part(key, data, _GUEST_DISK, "CONTAINS")
    for name, image in lock.images.items():
        made = _GUEST_DISK if name.startswith("guest ") and disk is not None else _IMAGE
        yield _Part(_file_id(name), _locked_image(name, image), made, "GENERATED_FROM")


def _packages(where: str, system: System, lock: _Lock) -> Iterator[tuple[str, dict[str, Any]]]:
    for package in system.packages:
        deb = lock.deb(package) if system.kind == "deb" else None
        name = f"SPDXRef-{where}-{system.kind}-{_identifier(f'{package.name}.{package.architecture}')}"
        yield name, _package(system, package, deb)


def _package(system: System, package: Package, deb: Deb | None) -> dict[str, Any]:
    licence = spdx_licence(package.licence)
    data = _element(
        package.name,
        package.version,
        supplier=_SUPPLIERS.get(vendor_of(system, package, deb), _UNKNOWN),
        licence=licence or _UNKNOWN,
        purl=package_purl(system, package, deb),
    )
    # Scanners look up what Debian and Alpine say of source packages; in these words Trivy finds it.
    data["sourceInfo"] = f"built package from: {package.source} {package.source_version}"
    if package.summary:
        data["summary"] = package.summary
    if re.match(r"https?://\S+$", package.homepage):
        data["homepage"] = package.homepage
    if package.licence and not licence:
        data["licenseComments"] = f"the package's own words: {package.licence}"
    return data if deb is None else data | _download(deb.url, deb.sha256)


def _image(manifest: Manifest, sha256: str) -> dict[str, Any]:
    data = _element(f"{manifest.node}.img", manifest.image.digest, purpose="OPERATING-SYSTEM")
    data["comment"] = (
        f"The version is the sha256 over the sha256 of each {manifest.image.chunk_size} bytes of the raw image."
    )
    return data | ({"checksums": _checksums(sha256)} if sha256 else {})


def _guest_disk(disk: FileState) -> dict[str, Any]:
    data = _element(disk.path.rpartition("/")[2], purpose="OPERATING-SYSTEM")
    return (
        data
        | {"comment": f"{disk.path} of the image"}
        | ({"checksums": _checksums(disk.sha256)} if disk.sha256 else {})
    )


def _locked_image(name: str, image: LockedImage) -> dict[str, Any]:
    signed = f", signed by {image.signed_by}" if image.signed_by else ""
    data = _element(image.url.rpartition("/")[2], purpose="OPERATING-SYSTEM")
    return data | {"comment": f"{name}, as it was published{signed}"} | _download(image.url, image.sha256)


def _locked_file(name: str, file: LockedFile) -> dict[str, Any]:
    """The element of one published file. k3s alone publishes such files: `k3s VERSION ASSET`."""
    product, _, rest = name.partition(" ")
    version, _, asset = rest.partition(" ")
    purl = k3s_purl(version) if product == "k3s" else ""
    return _element(asset or name, version, purl=purl) | _download(file.url, file.sha256)


def _element(
    name: str,
    version: str = "",
    *,
    supplier: str = _UNKNOWN,
    licence: str = _UNKNOWN,
    purl: str = "",
    purpose: str = "",
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": name,
        "supplier": supplier,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": licence,
        "copyrightText": _UNKNOWN,
    }
    if version:
        data["versionInfo"] = version
    if purpose:
        data["primaryPackagePurpose"] = purpose
    if purl:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        data["externalRefs"] = [reference]
    return data


def _download(url: str, sha256: str) -> dict[str, Any]:
    return {"downloadLocation": url, "checksums": _checksums(sha256)}


def _checksums(sha256: str) -> list[dict[str, str]]:
    return [{"algorithm": "SHA256", "checksumValue": sha256}]


def _file_id(name: str) -> str:
    return f"SPDXRef-locked-{_identifier(name)}"


def _identifier(name: str) -> str:
    """An SPDX identifier: letters, digits, dots and hyphens only. Two names never get the same one."""
    return re.sub(r"[^A-Za-z0-9.-]|-(?=x)", lambda found: f"-x{ord(found[0]):x}-", name)
