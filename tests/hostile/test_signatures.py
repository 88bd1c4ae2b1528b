"""A signature counts only when gpgv calls it good, by the pinned key, over a digest that nobody can forge."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.errors import DownloadError, FlashRefusedError
from builder.fetch.signatures import check_signature
from builder.flash.signed import Signed, Signer, signed_by
from builder.host.run import run

pytestmark = pytest.mark.disk

SIGNED_AT = "20240101T000000!"
LATER = "20250101T000000!"
Forge = Callable[["Publisher"], tuple[bytes, bytes]]
"""A signature and the key that is served with it."""


@dataclass(frozen=True)
class Publisher:
    """A home of gpg with one RSA key that signs, and the file that is signed."""

    home: Path
    file: Path

    def gpg(self, *words: str, data: bytes | None = None, home: Path | None = None, time: str = SIGNED_AT) -> bytes:
        options = ("--homedir", str(home or self.home), "--batch", "--yes", "--faked-system-time", time)
        return run(["gpg", *options, "--passphrase", "", "--pinentry-mode", "loopback", *words], input=data).stdout

    def make(self, name: str = "publisher@example.org", *, expires: str = "never") -> str:
        self.gpg("--quick-generate-key", name, "rsa2048", "sign", expires)
        return self.fingerprints()[0]

    def fingerprints(self) -> list[str]:
        listed = self.gpg("--list-keys", "--with-colons", time=LATER).decode()
        return [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")]

    def sign(self, *options: str, how: str = "--detach-sign", time: str = SIGNED_AT) -> bytes:
        return self.gpg(*options, "--output", "-", how, str(self.file), time=time)

    def public(self) -> bytes:
        return self.gpg("--export", time=LATER)

    def revoke(self) -> None:
        """With the certificate that gpg made beside the key, whose first colon keeps people from using it."""
        (certificate,) = (self.home / "openpgp-revocs.d").iterdir()
        self.gpg("--import", data=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    file = tmp_path / "image"
    file.write_bytes(b"an image\n" * 1000)
    yield Publisher(home, file)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False)


def _revoked(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    signature = publisher.sign()
    publisher.revoke()
    return signature, publisher.public()


def _expired_key(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make(expires="20240201T000000")
    return publisher.sign(), publisher.public()


def _expired_signature(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    return publisher.sign("--default-sig-expire", "7d"), publisher.public()


def _digest(name: str) -> Forge:
    def forge(publisher: Publisher) -> tuple[bytes, bytes]:
        publisher.make()
        return publisher.sign("--digest-algo", name, "--allow-weak-digest-algos"), publisher.public()

    return forge


def _text_mode(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    signature = publisher.sign("--textmode")
    publisher.file.write_bytes(publisher.file.read_bytes().replace(b"\n", b"\r\n"))
    return signature, publisher.public()


def _two_signatures(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    return publisher.sign() + publisher.sign(time=LATER), publisher.public()


def _stranger(publisher: Publisher) -> Publisher:
    """Somebody else with a key of the same name, who signs the same file."""
    publisher.make()
    other = publisher.home.with_name("other")
    other.mkdir(mode=0o700)
    stranger = Publisher(other, publisher.file)
    stranger.make("publisher@example.org")
    return stranger


def _good_and_unknown(publisher: Publisher) -> tuple[bytes, bytes]:
    stranger = _stranger(publisher)
    return publisher.sign() + stranger.sign(), publisher.public()


def _by_another_of_that_name(publisher: Publisher) -> tuple[bytes, bytes]:
    """The key ring that is served holds both keys; the signature is the stranger's."""
    stranger = _stranger(publisher)
    return stranger.sign(), publisher.public() + stranger.public()


def _revoked_subkey(publisher: Publisher) -> tuple[bytes, bytes]:
    primary = publisher.make()
    publisher.gpg("--quick-add-key", primary, "rsa2048", "sign", "never")
    subkey = publisher.fingerprints()[1]
    signature = publisher.sign("--local-user", f"{subkey}!")
    edits = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
    words = ("--homedir", str(publisher.home), "--passphrase", "", "--pinentry-mode", "loopback")
    run(["gpg", *words, "--command-fd", "0", "--no-tty", "--yes", "--edit-key", primary], input=edits)
    return signature, publisher.public()


def _subkey_of_a_revoked_key(publisher: Publisher) -> tuple[bytes, bytes]:
    primary = publisher.make()
    publisher.gpg("--quick-add-key", primary, "rsa2048", "sign", "never")
    signature = publisher.sign("--local-user", f"{publisher.fingerprints()[1]}!")
    publisher.revoke()
    return signature, publisher.public()


def _not_detached(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    return publisher.sign(how="--sign"), publisher.public()


def _clear_text(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    return publisher.sign(how="--clear-sign"), publisher.public()


def _of_another_file(publisher: Publisher) -> tuple[bytes, bytes]:
    publisher.make()
    signature = publisher.sign()
    publisher.file.write_bytes(b"another image")
    return signature, publisher.public()


FORGERIES: dict[str, tuple[Forge, str]] = {
    "by-a-revoked-key": (_revoked, "the key is revoked"),
    "by-a-key-that-has-expired": (_expired_key, "the key has expired"),
    "that-has-expired": (_expired_signature, "the signature has expired"),
    "over-sha1": (_digest("SHA1"), "its digest is SHA1, none of"),
    "over-md5": (_digest("MD5"), "its digest is MD5, and can be forged"),
    "over-ripemd160": (_digest("RIPEMD160"), "its digest is RIPEMD160, none of"),
    "over-text": (_text_mode, "it is a signature over text"),
    "twice": (_two_signatures, "there are several signatures"),
    "beside-a-stranger's": (_good_and_unknown, "there are several signatures"),
    "by-another-of-that-name": (_by_another_of_that_name, "it is signed by "),
    "by-a-revoked-subkey": (_revoked_subkey, "the key is revoked"),
    "by-a-subkey-of-a-revoked-key": (_subkey_of_a_revoked_key, "the key is revoked"),
    "that-is-not-detached": (_not_detached, "there is no signature"),
    "in-clear-text": (_clear_text, "there is no signature"),
    "of-another-file": (_of_another_file, "the file is not the one that was signed"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_signature_that_does_not_count(publisher: Publisher, name: str) -> None:
    forge, reason = FORGERIES[name]
    signature, key = forge(publisher)
    pinned = publisher.fingerprints()[0]
    with pytest.raises(DownloadError) as caught:
        check_signature(publisher.file, signature, key, pinned, "URL.sig")
    assert caught.value.where == "URL.sig"
    assert caught.value.message.startswith(f"is not signed by {pinned}: {reason}")


SETS = {
    "by-a-revoked-key": "the key is revoked",
    "by-a-key-that-has-expired": "the key has expired",
    "that-has-expired": "the signature has expired",
    "over-sha1": "its digest is SHA1",
    "over-md5": "its digest is MD5",
    "by-another-of-that-name": "it is signed by ",
}


def signed_set(publisher: Publisher, forge: Forge) -> tuple[Signed, bytes]:
    """The verdict on a set whose SHA256SUMS have this signature, and the signature."""
    image = publisher.file.with_name("node-003.img")
    image.write_bytes(b"an image")
    listed = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("node-003.img", b"an image"), ("node-003.manifest.json", b"{}"))
    )
    publisher.file.write_text(listed)
    signature, _ = forge(publisher)
    image.with_name("SHA256SUMS").write_bytes(publisher.file.read_bytes())
    image.with_name("SHA256SUMS.asc").write_bytes(signature)
    return signed_by(image, b"{}", [Signer("publisher.asc", publisher.public())]), signature


@pytest.mark.parametrize("name", SETS)
def test_of_a_set_whose_signature_does_not_count_the_reason_is_said(publisher: Publisher, name: str) -> None:
    signed, _ = signed_set(publisher, FORGERIES[name][0])
    assert signed.by == ""
    assert signed.text.startswith("by none of the 1 keys that you believe (publisher.asc: ")
    assert SETS[name] in signed.text


def test_of_a_set_by_an_unknown_key_its_id_is_said(publisher: Publisher) -> None:
    signed, signature = signed_set(publisher, _by_another_of_that_name)
    listed = run(["gpg", "--list-packets"], input=signature).text
    (key,) = set(re.findall(r"keyid ([0-9A-F]{16})", listed))
    assert f"it is signed by {key}" in signed.text


@pytest.mark.parametrize("name", ["BAD signature from", "a set"])
def test_a_set_that_was_changed_is_refused_whatever_its_signers_name_is(publisher: Publisher, name: str) -> None:
    """A name of a key that quotes gpgv decides nothing."""

    def changed(publisher: Publisher) -> tuple[bytes, bytes]:
        publisher.make(f"{name} <publisher@example.org>")
        signature = publisher.sign()
        publisher.file.write_text("other sums\n")
        return signature, publisher.public()

    with pytest.raises(FlashRefusedError, match=r"is a bad signature by publisher\.asc"):
        signed_set(publisher, changed)


def test_a_weak_signature_by_who_is_named_after_an_error_is_no_changed_set(publisher: Publisher) -> None:
    def expired(publisher: Publisher) -> tuple[bytes, bytes]:
        publisher.make("BAD signature <publisher@example.org>", expires="20240201T000000")
        return publisher.sign(), publisher.public()

    signed, _ = signed_set(publisher, expired)
    assert "the key has expired" in signed.text


def test_a_subkey_of_the_pinned_key_counts(publisher: Publisher) -> None:
    primary = publisher.make()
    publisher.gpg("--quick-add-key", primary, "rsa2048", "sign", "never")
    signature = publisher.sign("--local-user", f"{publisher.fingerprints()[1]}!")
    check_signature(publisher.file, signature, publisher.public(), primary, "URL.sig")


def test_a_profile_may_accept_an_expired_key_and_nothing_else(publisher: Publisher) -> None:
    signature, key = _expired_key(publisher)
    pinned = publisher.fingerprints()[0]
    check_signature(publisher.file, signature, key, pinned, "URL.sig", accept_expired=True)
    publisher.revoke()
    with pytest.raises(DownloadError, match="the key is revoked"):
        check_signature(publisher.file, signature, publisher.public(), pinned, "URL.sig", accept_expired=True)
