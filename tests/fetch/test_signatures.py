"""Only a good signature by the pinned key counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.errors import DownloadError
from builder.fetch.signatures import check_signature
from builder.host.run import run

pytestmark = pytest.mark.disk


@dataclass(frozen=True)
class Key:
    home: Path
    fingerprint: str

    def public(self, *, armor: bool = True) -> bytes:
        return run(["gpg", "--homedir", self.home, *(["--armor"] if armor else []), "--export"]).stdout

    def sign(self, file: Path, *, armor: bool = False) -> bytes:
        form = ["--armor"] if armor else []
        return run(["gpg", "--homedir", self.home, *form, "--detach-sign", "--output", "-", file]).stdout


def make_key(home: Path, name: str) -> Key:
    home.mkdir(mode=0o700)
    words = ("--batch", "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
    run(["gpg", "--homedir", home, *words])
    listed = run(["gpg", "--homedir", home, "--list-keys", "--with-colons"]).text
    return Key(home, next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")))


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("gpg") / "publisher", "publisher@example.org")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("gpg") / "stranger", "stranger@example.org")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"an image" * 1000)
    return path


def refused(file: Path, signature: bytes, key: bytes, fingerprint: str) -> str:
    with pytest.raises(DownloadError) as caught:
        check_signature(file, signature, key, fingerprint, "URL.sig")
    assert caught.value.where == "URL.sig"
    return caught.value.message


@pytest.mark.parametrize("armor", [True, False])
def test_the_publishers_signature_is_good(publisher: Key, file: Path, armor: bool) -> None:
    check_signature(file, publisher.sign(file), publisher.public(armor=armor), publisher.fingerprint, "URL.sig")


def test_another_content_is_not_signed(publisher: Key, file: Path) -> None:
    signature = publisher.sign(file)
    file.write_bytes(b"another image")
    assert "BAD signature" in refused(file, signature, publisher.public(), publisher.fingerprint)


def test_a_strangers_key_is_not_the_publishers(publisher: Key, stranger: Key, file: Path) -> None:
    """Even with his key served in the place of the publisher's, or both."""
    for keys in (stranger.public(armor=False), publisher.public(armor=False) + stranger.public(armor=False)):
        said = refused(file, stranger.sign(file), keys, publisher.fingerprint)
        assert said.startswith(f"is not signed by {publisher.fingerprint}")
    assert "No public key" in refused(file, stranger.sign(file), publisher.public(), publisher.fingerprint)


@pytest.mark.parametrize("signature", [b"", b"no signature at all", b"-----BEGIN PGP SIGNATURE-----\n"])
def test_rubbish_is_no_signature(publisher: Key, file: Path, signature: bytes) -> None:
    assert "is not signed" in refused(file, signature, publisher.public(), publisher.fingerprint)


@pytest.mark.parametrize("key", [b"", b"no key", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nrubbish\n"])
def test_rubbish_is_no_key(publisher: Key, file: Path, key: bytes) -> None:
    assert refused(file, publisher.sign(file), key, publisher.fingerprint)
