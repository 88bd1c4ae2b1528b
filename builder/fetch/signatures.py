"""Detached OpenPGP signatures, by gpgv(1) with one key: the one whose fingerprint is pinned.

gpgv ends with 0 for a signature by a key that is revoked or has expired, and says so only in its status lines
(doc/DETAILS of GnuPG, "General status codes"). So GOODSIG alone counts here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.errors import DownloadError
from builder.host.run import run

TOOLS = ("gpg", "gpgv")

_GOOD, _EXPIRED_KEY, _UNCHECKED = "GOODSIG", "EXPKEYSIG", "ERRSIG"
_REASONS = {
    _EXPIRED_KEY: "the key has expired",
    "EXPSIG": "the signature has expired",
    "REVKEYSIG": "the key is revoked",
    "BADSIG": "the file is not the one that was signed",
    _UNCHECKED: "gpgv cannot check the signature",
}
"""Status lines that judge a signature, and the reason in each against it."""
_STRONG_DIGESTS = {"8": "SHA256", "9": "SHA384", "10": "SHA512"}
"""RFC 4880, 9.4. Two files of one SHA-1 or MD5 can be made by anybody with some money."""
_WEAK_DIGESTS = {"1": "MD5", "2": "SHA1", "3": "RIPEMD160", "11": "SHA224"}
_DIGEST, _CLASS, _PRIMARY = 8, 9, 10
"""Words of a VALIDSIG line, which is the first of them."""
_KEY_ID, _ERROR_DIGEST, _CODE = 1, 3, 6
"""Words of an ERRSIG line, likewise."""
_BINARY = "00"
"""RFC 4880, 5.2.1. A signature over text (01) stays good when somebody changes line ends, which breaks an image."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`against` is the reason why a signature does not count, or empty. `is_changed`: it is by the key, but the file is
    another. `told`: gpgv's own lines."""

    against: str
    is_changed: bool
    told: tuple[str, ...]


def check_signature(
    file: Path, signature: bytes, key: bytes, fingerprint: str, where: str, *, accept_expired: bool = False
) -> None:
    """Raise DownloadError, at `where`, unless `signature` over `file` counts as `judge` has it."""
    judged = judge(file, signature, key, fingerprint, where, accept_expired=accept_expired)
    if judged.against:
        raise DownloadError(
            "\n  | ".join([f"is not signed by {fingerprint}: {judged.against}", *judged.told]),
            where=where,
            hint="do not use it; if the publisher has a new key, its fingerprint belongs into the profile",
        )


def judge(
    file: Path, signature: bytes, key: bytes, fingerprint: str, where: str, *, accept_expired: bool = False
) -> Judgement:
    """Whether `signature` over `file` is good and by the key with this primary fingerprint.

    `key` may hold other keys, too, in armor or not. With `accept_expired` a signature by the key after its expiry
    counts. A revoked key, an expired signature, or one over a SHA-1 or MD5 digest never counts.
    Raises DownloadError, at `where`, when `key` is no key.
    """
    with tempfile.TemporaryDirectory(prefix="pimu-gpgv-") as folder:
        home = Path(folder)
        keyring, detached = home / "keyring.gpg", home / "signature"
        detached.write_bytes(signature)
        keyring.write_bytes(dearmored(key, where))
        options = ("--homedir", home, "--keyring", keyring, "--status-fd", "1")
        said = run(["gpgv", *options, detached, file], check=False)
        revoked = accept_expired and _is_revoked(keyring, fingerprint)
    status = _status(said.text)
    reason = _REASONS["REVKEYSIG"] if revoked else _against(status, fingerprint, accept_expired)
    if not reason and said.returncode != 0:
        reason = "gpgv failed"
    told = said.stderr.decode(errors="replace").strip().splitlines()
    return Judgement(reason, any(words[:1] == ["BADSIG"] for words in status), tuple(told))


def _status(text: str) -> list[list[str]]:
    """The words of each status line, without the mark that begins it."""
    mark = "[GNUPG:] "
    return [line.removeprefix(mark).split() for line in text.splitlines() if line.startswith(mark)]


def _against(status: Sequence[Sequence[str]], fingerprint: str, accept_expired: bool) -> str:
    """The reason why these status lines do not prove one good signature by this key, "" when they do."""
    judged = [words for words in status if words and (words[0] == _GOOD or words[0] in _REASONS)]
    if len(judged) != 1:
        return "there are several signatures" if judged else "there is no signature"
    accepted = (_GOOD, _EXPIRED_KEY) if accept_expired else (_GOOD,)
    if judged[0][0] == _UNCHECKED:
        return _unchecked(judged[0])
    if judged[0][0] not in accepted:
        return _REASONS[judged[0][0]]
    valid = [words for words in status if words[0] == "VALIDSIG" and len(words) == _PRIMARY + 1]
    return _weakness(valid[0], fingerprint) if len(valid) == 1 else "gpgv does not name the key"


def _unchecked(words: Sequence[str]) -> str:
    """The reason in an ERRSIG line: key's id, its algorithm, digest, class, time, code; 9 is an unknown key."""
    if len(words) > _CODE and words[_CODE] == "9":
        return f"it is signed by {words[_KEY_ID]}"
    if len(words) > _CODE and words[_ERROR_DIGEST] in _WEAK_DIGESTS:
        return f"its digest is {_WEAK_DIGESTS[words[_ERROR_DIGEST]]}, and can be forged"
    return _REASONS[_UNCHECKED]


def _weakness(valid: Sequence[str], fingerprint: str) -> str:
    """The reason why a VALIDSIG line is not enough, "" when it is."""
    if valid[_PRIMARY] != fingerprint:
        return f"it is signed by {valid[_PRIMARY]}"
    if valid[_DIGEST] not in _STRONG_DIGESTS:
        name = _WEAK_DIGESTS.get(valid[_DIGEST], f"number {valid[_DIGEST]}")
        return f"its digest is {name}, none of {', '.join(_STRONG_DIGESTS.values())}, and can be forged"
    if valid[_CLASS] != _BINARY:
        return "it is a signature over text, which says nothing about a file's line ends"
    return ""


def _is_revoked(keyring: Path, fingerprint: str) -> bool:
    """Whether this primary key or a subkey of it is revoked: gpgv says of an expired key only that it has expired.

    doc/DETAILS of GnuPG, "Format of the colon listings": field 1 is the record, 2 the validity, 10 a fingerprint.
    """
    listed = run(["gpg", "--homedir", keyring.parent, "--batch", "--with-colons", "--show-keys", keyring]).text
    inside, validities = False, ""
    for record in (line.split(":") for line in listed.splitlines()):
        if record[0] == "pub":
            inside, validities = False, ""
        if record[0] in ("pub", "sub"):
            validities += record[1]
        if record[0] == "fpr" and record[9] == fingerprint:
            inside = True
        if inside and "r" in validities:
            return True
    return False


def dearmored(key: bytes, where: str) -> bytes:
    """A key as gpgv(1) reads it: binary. Such keys may be put one behind the other. Raises DownloadError."""
    if not key.lstrip().startswith(b"-----BEGIN PGP"):
        return key
    with tempfile.TemporaryDirectory(prefix="pimu-gpg-") as home:
        made = run(["gpg", "--homedir", home, "--batch", "--dearmor"], input=key, check=False)
    if made.returncode != 0:
        raise DownloadError("the key is not an OpenPGP key", where=where)
    return made.stdout
