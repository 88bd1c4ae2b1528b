"""OpenPGP public keys of the profile: a URL, or `file:PATH` of an armored key in the project."""

from __future__ import annotations

from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError
from builder.host.files import read_named
from builder.profile import Document

_FILE = "file:"


def with_public_key(document: Document, root: Path, references: dict[str, str]) -> Document:
    """A base or a guest with the signer's key itself instead of its file's name. Path and origin of the file are added
    to `references`. Raises ConfigurationError when it cannot be read."""
    source = document.part("source")
    signer = source.part("signer").data
    key = signer.get("key")
    if not isinstance(key, str) or not key.startswith(_FILE):
        return document
    name = key.removeprefix(_FILE)
    where = references[name] = document.origins.of("source.signer.key")
    try:
        text = read_named(root, name, limits.PROFILE).decode("ascii").strip()
    except (ConfigurationError, UnicodeDecodeError) as error:
        reason = error.message if isinstance(error, ConfigurationError) else "is not in armor"
        hint = f"gpg --armor --export {signer.get('fingerprint', 'FINGERPRINT')} >{name}"
        raise ConfigurationError(f"{name} {reason}", where=where, hint=hint) from error
    data = {**document.data, "source": {**source.data, "signer": {**signer, "key": text}}}
    return Document(data, document.origins)
