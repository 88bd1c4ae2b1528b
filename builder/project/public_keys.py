"""ssh public keys of the profile: literal, or `file:PATH` in the project."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

from builder.errors import ConfigurationError
from builder.profile import Origins

_FILE = "file:"
_KINDS = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")


def public_keys(entries: Iterable[str], root: Path, origins: Origins) -> list[str]:
    """Lines of authorized_keys(5). ConfigurationError for what is no public key, most of all for a private one."""
    keys: list[str] = []
    for index, entry in enumerate(entries):
        where = origins.of(f"user.ssh_keys.{index}")
        text = _read(root, entry.removeprefix(_FILE), where) if entry.startswith(_FILE) else entry
        if "PRIVATE KEY" in text:
            hint = "it must never leave your machine; give its .pub file"
            raise ConfigurationError("this is a private key", where=where, hint=hint)
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        for line in lines or [""]:
            if not _is_public_key(line):
                raise ConfigurationError(f"{entry} is not an ssh public key", where=where)
        keys += lines
    return keys


def _read(root: Path, name: str, where: str) -> str:
    try:
        return (root / name).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not an ssh public key", where=where) from error
    except OSError as error:
        make = f"make a key pair with: ssh-keygen -t ed25519 -f {name.removesuffix('.pub')}"
        raise ConfigurationError(f"cannot read {name}: {error.strerror}", where=where, hint=make) from error


def _is_public_key(line: str) -> bool:
    """Whether the base64 part is whole and of the kind that the first word says (RFC 4253, section 6.6)."""
    kind, _, rest = line.partition(" ")
    try:
        blob = base64.b64decode(rest.partition(" ")[0], validate=True)
    except binascii.Error:
        return False
    fields: list[bytes] = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if end > len(blob):
            return False
        fields.append(blob[4:end])
        blob = blob[end:]
    return len(fields) > 1 and fields[0] == kind.encode() and kind.startswith(_KINDS)
