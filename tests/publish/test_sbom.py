"""The bill of materials of an image: complete by the package managers' own word, valid by the SPDX project's own tools,
and the same whenever it is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from builder.build import Built
from builder.errors import BuildError
from builder.fs import ext4
from builder.host.run import run
from builder.model.manifest import FileState, Manifest
from builder.publish.installed import read_installed
from builder.publish.packages import Installed, System
from builder.publish.spdx import _identifier, sbom
from tests.publish.test_packages import APK, DPKG, OS_RELEASE
from tests.tiny_image import make_image, manifest_of


@given(st.lists(st.text("ax2b-+._", max_size=8), unique=True, min_size=2, max_size=40))
@example(["g+", "g-x2b-", "g-x2d-x2b-"])
def test_every_element_has_an_id_of_its_own(names: list[str]) -> None:
    ids = [_identifier(name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]*", one) for one in ids)


@pytest.fixture(scope="module")
def alpine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """An image of a Pi with an Alpine guest, installed as its installer does: boot, root, no mount."""
    folder = tmp_path_factory.mktemp("alpine")
    pi, guest, raw = folder / "pi", folder / "guest", folder / "guest.raw"
    for root, name, text in (
        (pi, "var/lib/dpkg/status", DPKG),
        (pi, "usr/lib/os-release", "ID=debian\nVERSION_ID=13\n"),
        (guest, "lib/apk/db/installed", APK),
        (guest, "etc/os-release", OS_RELEASE),
        (folder / "boot", "vmlinuz-virt", ""),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with raw.open("xb") as file:
        file.truncate(24 << 20)
    table = "label: dos\nstart=2048, size=8192, type=83, bootable\nstart=10240, size=32768, type=83\n"
    run(["sfdisk", "--quiet", raw], input=table.encode())
    for source, start, size in ((folder / "boot", 2048, 8192), (guest, 10240, 32768)):
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={start * 512}", "-d", source, raw, f"{size // 2}k"])
    (pi / "usr/share").mkdir()
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, pi / "usr/share/base.qcow2"])
    image = folder / "node-003.img"
    make_image(image, pi)
    disk = FileState(
        volume="root", path="/usr/share/base.qcow2", type="file", sha256="d" * 64, size=1, feature="guest", origin="g:1"
    )
    iso = {"request": "{}", "url": "https://dl.example/alpine-virt.iso", "sha256": "e" * 64, "size": 5}
    of_iso = {**iso, "extracted_sha256": "e" * 64, "extracted_size": 5, "signed_by": "0482D84022F52DF1"}
    k3s = {"request": "{}", "url": "https://dl.example/k3s", "sha256": "f" * 64, "size": 5}
    changes = {
        "files": (disk,),
        "plan": {
            "settings": {"base": "raspios-trixie", "guest": "alpine"},
            "guest": {"disk": 32 << 20},
            "edits": [{"kind": "PlaceBlob", "blob": "guest-disk", "path": disk.path}],
        },
        "lock": {
            "guest alpine": of_iso,
            "raspios-trixie": {**of_iso, "url": "https://dl.example/raspios.img.xz"},
            "k3s v1.36.5+k3s1 k3s": k3s,
        },
    }
    return image, manifest_of(image).model_copy(update=changes)


def sbom_of(image: Path, manifest: Manifest, folder: Path) -> bytes:
    installed = read_installed(image, manifest, folder, {})
    assert list(folder.iterdir()) == []
    return sbom(manifest, installed)


def require_valid(text: bytes, folder: Path) -> dict[str, Any]:
    """The document, which the parser and the validator of the SPDX project take."""
    file = folder / "node.spdx.json"
    file.write_bytes(text)
    assert [message.validation_message for message in validate_full_spdx_document(parse_file(str(file)))] == []
    document: dict[str, Any] = json.loads(text)
    return document


def parts(document: dict[str, Any], relation: str) -> Iterator[tuple[str, str]]:
    names = {one["SPDXID"]: one["name"] for one in document["packages"]}
    for one in document["relationships"]:
        if one["relationshipType"] == relation:
            yield names.get(one["spdxElementId"], one["spdxElementId"]), names[one["relatedSpdxElement"]]


@pytest.mark.disk
def test_an_alpine_guest_is_nested_in_its_disk(alpine: tuple[Path, Manifest], tmp_path: Path) -> None:
    image, manifest = alpine
    (tmp_path / "work").mkdir()
    document = require_valid(sbom_of(image, manifest, tmp_path / "work"), tmp_path)

    assert sorted(parts(document, "CONTAINS")) == [
        ("base.qcow2", "busybox-binsh"),
        ("base.qcow2", "libstdc++"),
        ("base.qcow2", "musl"),
        ("node-003.img", "base-files"),
        ("node-003.img", "base.qcow2"),
        ("node-003.img", "k3s"),
        ("node-003.img", "libstdc++6"),
    ]
    assert sorted(parts(document, "GENERATED_FROM")) == [
        ("base.qcow2", "alpine-virt.iso"),
        ("node-003.img", "raspios.img.xz"),
    ]
    assert list(parts(document, "DESCRIBES")) == [("SPDXRef-DOCUMENT", "node-003.img")]
    by_name = {one["name"]: one for one in document["packages"]}
    assert by_name["musl"]["licenseDeclared"] == "MIT"
    assert by_name["libstdc++"]["licenseDeclared"] == "GPL-3.0-or-later WITH GCC-exception-3.1"
    assert by_name["busybox-binsh"]["licenseDeclared"] == "NOASSERTION"
    assert "GPL-2.0-only AND custom" in by_name["busybox-binsh"]["licenseComments"]
    assert by_name["busybox-binsh"]["sourceInfo"] == "built package from: busybox 1.37.0-r19"
    assert by_name["k3s"]["versionInfo"] == "v1.36.5+k3s1"
    assert by_name["k3s"]["downloadLocation"] == "https://dl.example/k3s"
    assert by_name["alpine-virt.iso"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "e" * 64}]


@pytest.mark.disk
def test_a_guest_is_read_once_for_all_images_that_have_it(alpine: tuple[Path, Manifest], tmp_path: Path) -> None:
    image, manifest = alpine
    known = {"d" * 64: System("apk", "alpine", "9", ())}
    assert read_installed(image, manifest, tmp_path, known).guest == known["d" * 64]


@pytest.mark.disk
def test_another_document_has_another_namespace_and_the_same_image_the_same_bytes(
    alpine: tuple[Path, Manifest], tmp_path: Path
) -> None:
    image, manifest = alpine
    text = sbom_of(image, manifest, tmp_path)
    facts = manifest.image.model_copy(update={"digest": "0" * 64})
    changes: list[dict[str, Any]] = [{"image": facts}, {"lock": {}}, {"node": "node-009"}]
    others = [manifest.model_copy(update=change) for change in changes]
    texts = [text, *(sbom_of(image, other, tmp_path) for other in others)]

    assert sbom_of(image, manifest, tmp_path) == text
    assert len({json.loads(one)["documentNamespace"] for one in texts}) == len(texts)


@pytest.mark.disk
def test_a_disk_without_a_database_is_an_error(tmp_path: Path) -> None:
    manifest = make_image(tmp_path / "tiny.img")
    with pytest.raises(BuildError, match="no database of installed packages"):
        read_installed(tmp_path / "tiny.img", manifest, tmp_path, {})


@pytest.mark.disk
def test_a_built_image_has_what_its_lock_names_and_dpkg_lists(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    installed = read_installed(built.image, manifest, tmp_path, {})
    assert installed.guest is not None
    for system, names in (
        (installed.pi, [name for name in manifest.lock if not name.startswith("guest ")]),
        (installed.guest, ["guest debian amd64"]),
    ):
        locked = {(deb["name"], deb["version"]) for name in names for deb in manifest.lock[name]["debs"]}
        assert {(one.name, one.version) for one in system.packages} == locked
    assert installed.epoch == manifest.lock["debian-trixie arm64"]["epoch"]

    (status,) = ext4.read_files(built.image, manifest.layout.root_start, ["var/lib/dpkg/status"], tmp_path)
    (tmp_path / "status").write_bytes(status)
    form = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n"
    listed = run(["dpkg-query", f"--admindir={tmp_path}", "--show", f"--showformat={form}"]).text.splitlines()
    found = [(one.name, one.version, one.architecture, one.source, one.source_version) for one in installed.pi.packages]
    assert sorted(listed) == sorted(" ".join(one) for one in found)

    document = require_valid(sbom(manifest, installed, "a" * 64), tmp_path)
    assert [one["name"] for one in document["packages"] if "checksums" not in one] == []
    assert document["creationInfo"]["created"] == created(installed)


def created(installed: Installed) -> str:
    return run(["date", "--utc", f"--date=@{installed.epoch}", "+%Y-%m-%dT%H:%M:%SZ"]).text.strip()
