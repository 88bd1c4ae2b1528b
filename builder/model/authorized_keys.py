"""Lines of authorized_keys as sshd reads them (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; auth2-pubkeyfile.c)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

_JUDGED = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
"""Kinds of keys that are parsed in full."""
_ON_TOKENS = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
_FLAGS = """
    agent-forwarding cert-authority no-agent-forwarding no-port-forwarding no-pty no-touch-required no-user-rc
    no-x11-forwarding port-forwarding pty restrict user-rc verify-required x11-forwarding
"""
_VALUED = "command environment expiry-time from permitlisten permitopen principals tunnel"
_OPTION = re.compile(r'([a-z0-9-]+)(?:=("(?:\\"|[^"])*"))?(?:,|$)', re.IGNORECASE)
_OPTIONS = re.compile(r'(?:"(?:\\"|[^"])*"|[^" \t])+')
_SMALLEST_RSA = 1024
"""Bits, the default of RequiredRSASize (sshd_config(5))."""


def key_lines(text: str) -> Iterator[tuple[int, str]]:
    """Line number and line of each key, with one blank between the fields. The comment stays unchanged.

    Raises ValueError(line number, reason) for the first line that sshd would not take.
    """
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        bare = line.strip(" \t\r")
        if bare and not bare.startswith("#"):
            try:
                yield number, _normalised(bare)
            except ValueError as error:
                raise ValueError(number, str(error)) from error


def _normalised(line: str) -> str:
    if any(not letter.isprintable() and letter != "\t" for letter in line):
        raise ValueError("has a control character")
    options, rest = "", line
    if line.startswith("----"):
        raise ValueError("is in another form than sshd's; `ssh-keygen -i -f FILE` writes sshd's")
    if not _is_kind(re.split(r"[ \t]", line, maxsplit=1)[0]):
        match = _OPTIONS.match(line)
        options, rest = (match[0], line[match.end() :].strip(" \t")) if match else ("", "")
        if not _is_kind(re.split(r"[ \t]", rest, maxsplit=1)[0]):
            raise ValueError("is not an ssh public key")
        _check_options(options)
    kind, blob, *comment = re.split(r"[ \t]+", rest, maxsplit=2) if re.search(r"[ \t]", rest) else (rest, "")
    _check_key(kind, blob)
    return " ".join([*([options] if options else []), kind, blob, *(word.replace("\t", " ") for word in comment)])


def _is_kind(word: str) -> bool:
    return word.startswith(("ssh-", "ecdsa-", "sk-"))


def _check_options(options: str) -> None:
    position = 0
    while position < len(options):
        match = _OPTION.match(options, position)
        if match is None:
            raise ValueError("has options that sshd cannot read; a value stands in double quotes")
        name, value = match[1].lower(), match[2]
        if name not in (*_FLAGS.split(), *_VALUED.split()):
            raise ValueError(f"has the option {match[1]}, which sshd does not know")
        if (name in _VALUED.split()) != (value is not None):
            needs = "needs a value in double quotes" if value is None else "takes no value"
            raise ValueError(f"has the option {match[1]}, which {needs}")
        position = match.end()
    if options.endswith(","):
        raise ValueError("has options that end in a comma")


def _check_key(kind: str, blob: str) -> None:
    """Raises ValueError unless the base64 part is complete, of the kind in the first word (RFC 4253, section 6.6), and
    a valid key."""
    if "-cert-v01@" in kind:
        raise ValueError("is a certificate; sshd takes the authority's key here, with the option cert-authority")
    if kind == "ssh-dss":
        raise ValueError("is a DSA key, which sshd takes no longer")
    if kind not in (*_JUDGED, *_ON_TOKENS):
        raise ValueError(f"is a key of the kind {kind}, which sshd does not know")
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error as error:
        raise ValueError("is not an ssh public key: its base64 is cut off or changed") from error
    fields = _fields(raw)
    if len(fields) < 2 or fields[0] != kind.encode():
        raise ValueError("is not an ssh public key: it is cut off, or of another kind than it says")
    if kind in _JUDGED:
        try:
            key = load_ssh_public_key(f"{kind} {blob}".encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("is not an ssh public key: its numbers are no key") from error
        if isinstance(key, RSAPublicKey) and key.key_size < _SMALLEST_RSA:
            raise ValueError(f"is an RSA key of {key.key_size} bits; sshd takes {_SMALLEST_RSA} and more")


def _fields(blob: bytes) -> list[bytes]:
    """The fields of a key's blob (RFC 4251, section 5, `string`); empty if the last one is cut off."""
    fields: list[bytes] = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < 4 or end > len(blob):
            return []
        fields.append(blob[4:end])
        blob = blob[end:]
    return fields
