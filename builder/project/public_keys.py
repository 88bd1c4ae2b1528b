"""ssh public keys of the profile, literal or as `file:PATH`. Such a file has the form of authorized_keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError
from builder.host.files import read_named
from builder.model.authorized_keys import key_lines
from builder.profile import Origins

_FILE = "file:"


def public_keys(entries: Iterable[str], root: Path, origins: Origins, references: dict[str, str]) -> list[str]:
    """Lines of authorized_keys. Each PATH is added to `references`, with its origin.

    Raises ConfigurationError, at the line of the file or of the profile, for a line that sshd would not take. The error
    does not quote the file, because it may hold a private key.
    """
    keys: list[str] = []
    for index, entry in enumerate(entries):
        where = origins.of(f"user.ssh_keys.{index}")
        name = entry.removeprefix(_FILE) if entry.startswith(_FILE) else ""
        if name:
            references[name] = where
        text = _read(root, name, where) if name else entry
        if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
            hint = "it must never leave your machine; give its .pub file"
            raise ConfigurationError("this is a private key", where=where, hint=hint)
        keys += _lines(text, name, where)
    return keys


def _lines(text: str, name: str, where: str) -> list[str]:
    try:
        lines = [line for _, line in key_lines(text)]
    except ValueError as error:
        number, reason = error.args
        if name:
            raise ConfigurationError(reason, where=f"{name}:{number}", hint=f"it is read for {where}") from error
        raise ConfigurationError(f"{text} {reason}", where=where) from error
    if not lines:
        raise ConfigurationError(f"{name} has no ssh public key" if name else "is empty", where=where)
    return lines


def _read(root: Path, name: str, where: str) -> str:
    try:
        content = read_named(root, name, limits.PROFILE)
    except ConfigurationError as error:
        make = f"make a key pair with: ssh-keygen -t ed25519 -f {name.removesuffix('.pub')}"
        missing = error.message.endswith("No such file or directory")
        raise ConfigurationError(
            f"{name} {error.message}", where=where, hint=make if missing else error.hint
        ) from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigurationError(f"{name} is UTF-16 text", where=where, hint="save it as UTF-8")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not UTF-8 text", where=where) from error
