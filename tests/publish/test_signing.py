"""A publisher's signatures: made unattended or refused at once, and the same each time."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuildError, ConfigurationError
from builder.host.run import run
from builder.publish.signing import Signers
from tests.fetch.test_signatures import make_key

pytestmark = pytest.mark.disk


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    file = tmp_path / "SHA256SUMS"
    file.write_text(f"{'0' * 64}  node-003.img\n")
    return file


def minisign_key(folder: Path, *, password: str = "") -> Path:
    """FOLDER/minisign.key, and minisign.pub beside it."""
    key = folder / "minisign.key"
    unattended = () if password else ("-W",)
    answers = f"{password}\n{password}\n".encode()
    run(["minisign", "-G", *unattended, "-p", key.with_suffix(".pub"), "-s", key], input=answers)
    return key


@pytest.fixture(scope="module")
def with_a_password(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minisign_key(tmp_path_factory.mktemp("key"), password="of the publisher")


def damaged(key: Path) -> Path:
    """By one bit, which minisign does not notice when it signs."""
    comment, secret = key.read_text().splitlines()
    decoded = bytearray(base64.b64decode(secret))
    decoded[-40] ^= 1
    key.write_text(f"{comment}\n{base64.b64encode(decoded).decode()}\n")
    return key


def test_both_signatures_are_good_and_minisigns_is_the_same_each_time(
    sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher, key = make_key(tmp_path / "gpg", "publisher@example.org"), minisign_key(tmp_path)
    monkeypatch.setenv("GNUPGHOME", str(publisher.home))
    signers = Signers(publisher.fingerprint, key)
    signers.require()
    signers.sign(sums)
    run(["gpg", "--homedir", publisher.home, "--verify", f"{sums}.asc", sums])
    said = run(["minisign", "-V", "-Q", "-p", key.with_suffix(".pub"), "-m", sums]).text
    assert said == "file:SHA256SUMS\n"

    first = Path(f"{sums}.minisig").read_bytes()
    Signers(minisign=key).sign(sums)
    assert Path(f"{sums}.minisig").read_bytes() == first


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(with_a_password: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Signers(minisign=with_a_password).require()
    assert str(caught.value).startswith(f"{with_a_password}: needs a password, and nobody is asked for it here\n")


def test_minisign_cannot_ask_at_a_terminal_either(sums: Path, with_a_password: Path) -> None:
    """Were its key to get a password between the look and the signature."""
    program = "import sys; from pathlib import Path; from builder.publish.signing import Signers; "
    program += "Signers(minisign=Path(sys.argv[1])).sign(Path(sys.argv[2]))"
    terminal, theirs = pty.openpty()
    with os.fdopen(terminal), os.fdopen(theirs) as side:
        words: list[str | Path] = [sys.executable, "-c", program, with_a_password, sums]
        ended = subprocess.run(words, stdin=side, stdout=side, stderr=subprocess.PIPE, timeout=20, check=False)
    assert b"minisign failed with status" in ended.stderr
    assert not Path(f"{sums}.minisig").exists()


def _cut_off(key: Path) -> None:
    key.write_text(key.read_text()[:-20])


def _public(key: Path) -> None:
    key.write_text(key.with_suffix(".pub").read_text())


def _text(key: Path) -> None:
    key.write_text("a secret\n")


@pytest.mark.parametrize("change", [_cut_off, _public, _text])
def test_what_is_no_secret_key_is_said(tmp_path: Path, change: Callable[[Path], None]) -> None:
    key = minisign_key(tmp_path)
    change(key)
    with pytest.raises(ConfigurationError) as caught:
        Signers(minisign=key).require()
    assert str(caught.value).startswith(f"{key}: is not a secret key of minisign\n")


def test_a_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"minisign\.key: cannot be read: No such file"):
        Signers(minisign=tmp_path / "minisign.key").require()


def test_a_signature_by_a_damaged_key_is_noticed(sums: Path, tmp_path: Path) -> None:
    signers = Signers(minisign=damaged(minisign_key(tmp_path)))
    signers.require()
    with pytest.raises(BuildError, match="minisign failed with status 1: minisign -V"):
        signers.sign(sums)
