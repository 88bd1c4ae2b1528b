"""No private key leaves with a published image, in whatever file of it."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from builder.bake.private_keys import require_no_private_keys
from builder.errors import BuildError, ConfigurationError
from builder.host.run import run
from builder.model.manifest import FileState, Manifest
from builder.publish.installed import read_installed
from tests.fs.test_owners import DISK, made_disk
from tests.tiny_image import make_image

KEY = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEl0\n-----END PRIVATE KEY-----\n"
MODULE = repr(KEY).encode()
PROGRAM = b"\x7fELF" + bytes(9000) + KEY + bytes(100)


INNER = serialization.PrivateFormat


def der(key: Any, form: serialization.PrivateFormat, password: bytes | None = None) -> bytes:
    kind = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    made: bytes = key.private_bytes(serialization.Encoding.DER, form, kind)
    return made


def rsa_key() -> Any:
    return rsa.generate_private_key(65537, 2048)


def tar_of(name: str, content: bytes) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        return file.getvalue()


FORMS: dict[str, Callable[[], bytes]] = {
    "PKCS #1": lambda: der(rsa_key(), INNER.TraditionalOpenSSL),
    "PKCS #8": lambda: der(rsa_key(), INNER.PKCS8),
    "PKCS #8 of an elliptic curve": lambda: der(ec.generate_private_key(ec.SECP256R1()), INNER.PKCS8),
    "PKCS #8 of Ed25519": lambda: der(ed25519.Ed25519PrivateKey.generate(), INNER.PKCS8),
    "PKCS #8 under a password": lambda: der(rsa_key(), INNER.PKCS8, b"word"),
    "SEC 1": lambda: der(ec.generate_private_key(ec.SECP384R1()), INNER.TraditionalOpenSSL),
    "DER in a tar": lambda: tar_of("a/key", der(rsa_key(), INNER.PKCS8)),
    "gzip": lambda: gzip.compress(KEY),
    "xz": lambda: lzma.compress(KEY),
    "xz of two streams": lambda: lzma.compress(b"none") + lzma.compress(KEY),
    "zstd": lambda: zstandard.compress(KEY),
    "bzip2": lambda: bz2.compress(KEY),
    "DER in gzip": lambda: gzip.compress(der(rsa_key(), INNER.TraditionalOpenSSL)),
    "DER in a tar in xz": lambda: lzma.compress(tar_of("a/key", der(rsa_key(), INNER.PKCS8))),
    "gzip that is cut off": lambda: gzip.compress(KEY + bytes(range(256)) * 400)[:-100],
}

HARMLESS: dict[str, Callable[[], bytes]] = {
    "a public key": lambda: (
        rsa_key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ),
    "a sequence that only begins like a key": lambda: der(rsa_key(), INNER.PKCS8)[:200] + bytes(1100),
    "compressed text": lambda: gzip.compress(b"no key\n"),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["root", "boot"])
def test_a_key_without_a_mark_is_refused_by_its_file(tmp_path: Path, form: str, place: str) -> None:
    content = FORMS[form]()
    disk = image(tmp_path, *({"etc/secret": content}, None) if place == "root" else ({}, {"secret": content}))
    with pytest.raises(ConfigurationError, match=r"^node\.img: holds private keys, and must not be published") as told:
        require_no_private_keys(disk, DISK, "node.img")
    assert f"{place}:/{'etc/' if place == 'root' else ''}secret" in str(told.value)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".pimu")] == []


@pytest.mark.parametrize("form", HARMLESS)
def test_what_holds_no_key_is_not_refused(tmp_path: Path, form: str) -> None:
    require_no_private_keys(image(tmp_path, {"etc/file": HARMLESS[form]()}, {"file": HARMLESS[form]()}), DISK, "x")


@pytest.mark.parametrize("content", [gzip.compress(KEY, mtime=0), lzma.compress(KEY)], ids=["gzip", "xz"])
def test_a_compressed_key_that_a_package_ships_or_that_was_fetched_is_no_secret(tmp_path: Path, content: bytes) -> None:
    sums = f"{hashlib.md5(content).hexdigest()}  usr/share/doc/keys.gz\n".encode()
    files = {"usr/share/doc/keys.gz": content, "var/lib/dpkg/info/bar.md5sums": sums, "srv/images.zst": content}
    disk = image(tmp_path, files)
    require_no_private_keys(disk, DISK, "x", fetched=["root:/srv/images.zst"])
    with pytest.raises(ConfigurationError, match=r"published: root:/srv/images.zst \(compressed\)\n"):
        require_no_private_keys(disk, DISK, "x")


def test_what_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.limits.UNPACKED", 3 << 20)
    one = image(tmp_path, {"srv/zeros.gz": gzip.compress(bytes(2 << 20))})
    require_no_private_keys(one, DISK, "x")
    (tmp_path / "more").mkdir()
    two = image(tmp_path / "more", {f"srv/{name}.gz": gzip.compress(bytes(2 << 20)) for name in "ab"})
    with pytest.raises(ConfigurationError, match=r"unpacks to more than \d+ bytes"):
        require_no_private_keys(two, DISK, "x")


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh91AY&SY"])
def test_what_cannot_be_unpacked_is_not_believed_to_be_harmless(tmp_path: Path, magic: bytes) -> None:
    with pytest.raises(BuildError, match="cannot be unpacked"):
        require_no_private_keys(image(tmp_path, {"srv/broken": magic + b"\x77" * 3000}), DISK, "x")


class TestGuest:
    """A guest's disk: a qcow2 in the image, with packages of its own."""

    def image(self, tmp_path: Path, files: dict[str, bytes]) -> tuple[Path, Manifest]:
        pi, guest, raw = tmp_path / "pi", tmp_path / "guest", tmp_path / "guest.raw"
        program = hashlib.sha1(PROGRAM, usedforsecurity=False).digest()
        database = f"P:test\nV:1\nA:x86_64\nF:usr/lib\nR:selftest.so\nZ:Q1{base64.b64encode(program).decode()}\n\n"
        whole = {**files, "lib/apk/db/installed": database.encode(), "etc/os-release": b"ID=alpine\n"}
        status = b"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: arm64\n"
        for folder, contents in ((guest, whole), (pi, {"var/lib/dpkg/status": status, "usr/lib/os-release": b""})):
            for name, content in contents.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        with raw.open("xb") as file:
            file.truncate(24 << 20)
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", guest, raw])
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, pi / "base.qcow2"])
        facts = {"volume": "root", "path": "/base.qcow2", "type": "file", "feature": "guest", "origin": "g:1"}
        disk = FileState.model_validate({**facts, "sha256": "d" * 64, "size": 1})
        plan = {"guest": {"disk": 24 << 20}, "edits": [{"blob": "guest-disk", "path": "/base.qcow2"}]}
        manifest = make_image(tmp_path / "node.img", pi).model_copy(update={"files": (disk,), "plan": plan})
        return tmp_path / "node.img", manifest

    def test_a_guest_without_keys_of_its_own_is_read(self, tmp_path: Path) -> None:
        """A program of a package that apk lists tests itself with a key."""
        image, manifest = self.image(tmp_path, {"usr/lib/selftest.so": PROGRAM})
        assert read_installed(image, manifest, tmp_path, {}).guest is not None

    @pytest.mark.parametrize(
        ("name", "content", "named"),
        [
            ("etc/ssh/host_key", KEY, "/etc/ssh/host_key"),
            ("etc/key.der", der(rsa_key(), INNER.PKCS8), "/etc/key.der"),
            ("root/backup.gz", gzip.compress(KEY), "/root/backup.gz (compressed)"),
            ("usr/lib/selftest.so", PROGRAM + b"changed", "/usr/lib/selftest.so"),
        ],
        ids=["text", "DER", "compressed", "changed program"],
    )
    def test_a_key_in_a_guest_is_refused(self, tmp_path: Path, name: str, content: bytes, named: str) -> None:
        image, manifest = self.image(tmp_path, {name: content})
        with pytest.raises(ConfigurationError) as told:
            read_installed(image, manifest, tmp_path, {})
        assert f"holds private keys, and must not be published: {named}\n" in str(told.value)
        assert told.value.where == f"{image}: /base.qcow2"


def image(tmp_path: Path, files: dict[str, bytes], boot: dict[str, bytes] | None = None) -> Path:
    system = tmp_path / "system"
    listed = {"usr/lib/selftest.so": PROGRAM, "usr/lib/selftest.py": MODULE, "lib/other": b""}
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {name}\n" for name, content in listed.items())
    for name, content in {**files, "var/lib/dpkg/info/foo.md5sums": sums.encode()}.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_bytes(content)
    return made_disk(tmp_path / "disk.img", system, boot or {"config.txt": b"[all]\n"})


def test_a_key_that_a_package_ships_in_a_program_is_no_secret(tmp_path: Path) -> None:
    require_no_private_keys(image(tmp_path, {"usr/lib/selftest.so": PROGRAM}), DISK, "node.img")


BYTECODE = "usr/lib/__pycache__/selftest.cpython-313.pyc"


def test_a_key_in_the_bytecode_of_a_packages_module_is_no_secret(tmp_path: Path) -> None:
    require_no_private_keys(image(tmp_path, {"usr/lib/selftest.py": MODULE, BYTECODE: KEY}), DISK, "node.img")


@pytest.mark.parametrize(
    ("files", "boot", "named"),
    [
        ({"usr/lib/selftest.py": MODULE + b"changed", BYTECODE: KEY}, {}, f"root:/{BYTECODE}"),
        ({BYTECODE: KEY}, {}, f"root:/{BYTECODE}"),
        ({"etc/ssl/private/own.key": KEY}, {}, "root:/etc/ssl/private/own.key"),
        ({"etc/wireguard/wg0.conf": b"PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"}, {}, "wg0.conf"),
        ({"usr/lib/selftest.so": PROGRAM + b"changed"}, {}, "root:/usr/lib/selftest.so"),
        ({"lib/other": KEY}, {}, "root:/lib/other"),
        ({"srv/far": b"x" * 300_000 + KEY}, {}, "root:/srv/far"),
        ({}, {"id_rsa": KEY}, "boot:/id_rsa"),
    ],
    ids=[
        "bytecode of a changed module",
        "bytecode alone",
        "PEM",
        "WireGuard",
        "changed program",
        "listed with another checksum",
        "far down",
        "on the boot volume",
    ],
)
def test_a_private_key_is_refused_by_its_file(
    tmp_path: Path, files: dict[str, bytes], boot: dict[str, bytes], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"^node\.img: holds private keys, and must not be published") as told:
        require_no_private_keys(image(tmp_path, files, boot), DISK, "node.img")
    assert named in str(told.value)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".pimu")] == []


def test_a_key_in_no_file_is_refused_too(tmp_path: Path) -> None:
    disk = image(tmp_path, {"etc/own.key": KEY})
    run(["debugfs", "-w", "-R", "rm /etc/own.key", f"{disk}?offset={DISK.root_start}"])
    with pytest.raises(ConfigurationError, match=r"root:\(file system\)"):
        require_no_private_keys(disk, DISK, "node.img")
