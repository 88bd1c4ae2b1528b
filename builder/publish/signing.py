"""Sign a set's checksums: by gpg and its agent, by minisign with a key that has no password, or by both."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ConfigurationError, MissingToolError
from builder.host.run import run, which

_COMMENT = "untrusted comment:"
_NO_PASSWORD = b"\0\0"
_KDF = slice(2, 4)
_KEY_SIZE = 158
"""Bytes of a secret key's second line, decoded: algorithms of signature, password and checksum, two bytes each, and the
key (jedisct1.github.io/minisign, "Secret key format")."""


@dataclass(frozen=True, slots=True)
class Signers:
    """`gpg` names a key of the user's keyring, `minisign` is the file of a secret key; None is not asked for."""

    gpg: str | None = None
    minisign: Path | None = None

    def require(self) -> None:
        """Found out before an image is read. Raises ConfigurationError for a key of minisign's that cannot sign
        unattended, MissingToolError."""
        for program in ("gpg",) * (self.gpg is not None) + ("minisign",) * (self.minisign is not None):
            if which(program) is None:
                raise MissingToolError(f"{program} is not installed", hint=f"apt install {program}")
        if self.minisign is not None:
            _require_no_password(self.minisign)

    def sign(self, file: Path) -> None:
        """Write FILE.asc and FILE.minisig, of those that are asked for. Raises BuildError."""
        if self.gpg is not None:
            _gpg(file, self.gpg)
        if self.minisign is not None:
            _minisign(file, self.minisign)


def _gpg(file: Path, key: str) -> None:
    """By the user's own gpg and agent, which ask for a passphrase if there is one."""
    home = {"GNUPGHOME": os.environ["GNUPGHOME"]} if "GNUPGHOME" in os.environ else {}
    words = ("--batch", "--yes", "--armor", "--local-user", key, "--output", f"{file}.asc")
    run(["gpg", *words, "--detach-sign", file], env=home)


def _minisign(file: Path, key: Path) -> None:
    """The same signature each time: minisign's own comment would hold the time of day.

    It is checked, for a key without a password has no checksum: a flipped bit of it would sign in nobody's name.
    """
    run(["minisign", "-S", "-s", key, "-m", file, "-t", f"file:{file.name}"])
    with tempfile.TemporaryDirectory(prefix="pimu-minisign-") as folder:
        public = Path(folder, "minisign.pub")
        run(["minisign", "-R", "-s", key, "-p", public])
        run(["minisign", "-V", "-q", "-p", public, "-m", file])


def _require_no_password(key: Path) -> None:
    try:
        comment, _, secret = key.read_bytes().partition(b"\n")
        decoded = base64.b64decode(secret.strip(), validate=True)
    except OSError as refused:
        raise ConfigurationError(f"cannot be read: {refused.strerror}", where=str(key)) from refused
    except binascii.Error:
        decoded = b""
    if not comment.startswith(_COMMENT.encode()) or len(decoded) != _KEY_SIZE:
        raise ConfigurationError(
            "is not a secret key of minisign", where=str(key), hint="`minisign -G -W -s FILE` makes one"
        )
    if decoded[_KDF] != _NO_PASSWORD:
        raise ConfigurationError(
            "needs a password, and nobody is asked for it here",
            where=str(key),
            hint="publish without --minisign, then `minisign -S -s FILE -m DIR/SHA256SUMS`; "
            "or keep a key without one for this: `minisign -G -W`",
        )
