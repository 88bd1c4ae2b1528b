"""Detached OpenPGP signatures, by gpgv(1) with one key: the one whose fingerprint is pinned."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from builder.errors import DownloadError
from builder.run import run


def check_signature(file: Path, signature: bytes, key: bytes, fingerprint: str, where: str) -> None:
    """Raise DownloadError unless `signature` over `file` is good and by the key with this primary fingerprint.

    `key` may hold anything, in armor or not: what counts is gpgv's VALIDSIG line (doc/DETAILS of GnuPG), whose last
    word is the primary key's fingerprint.
    """
    with tempfile.TemporaryDirectory(prefix="pimu-gpgv-") as folder:
        home = Path(folder)
        keyring, detached = home / "keyring.gpg", home / "signature"
        detached.write_bytes(signature)
        keyring.write_bytes(dearmored(key, where))
        options = ("--homedir", home, "--keyring", keyring, "--status-fd", "1")
        said = run(["gpgv", *options, detached, file], check=False)
    good = re.findall(r"^\[GNUPG:\] VALIDSIG .* ([0-9A-F]{40})$", said.text, re.MULTILINE)
    if said.returncode == 0 and good == [fingerprint]:
        return
    reason = said.stderr.decode(errors="replace").strip().replace("\n", "\n  | ")
    raise DownloadError(
        f"is not signed by {fingerprint}\n  | {reason or 'by another key'}",
        where=where,
        hint="do not use it; if the publisher has a new key, its fingerprint belongs into the profile",
    )


def dearmored(key: bytes, where: str) -> bytes:
    """A key as gpgv(1) reads it: binary. Such keys may be put one behind the other. Raises DownloadError."""
    if not key.lstrip().startswith(b"-----BEGIN PGP"):
        return key
    with tempfile.TemporaryDirectory(prefix="pimu-gpg-") as home:
        made = run(["gpg", "--homedir", home, "--batch", "--dearmor"], input=key, check=False)
    if made.returncode != 0:
        raise DownloadError("the key is not an OpenPGP key", where=where)
    return made.stdout
