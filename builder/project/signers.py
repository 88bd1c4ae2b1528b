"""OpenPGP public keys of the profile: where to fetch one, or `file:PATH` in the project, in armor."""

from __future__ import annotations

from pathlib import Path

from builder.errors import ConfigurationError
from builder.profile import Document

_FILE = "file:"


def with_public_key(document: Document, root: Path) -> Document:
    """A base or a guest with the key itself of who signs its file. Raises ConfigurationError when it cannot be read."""
    source = document.part("source")
    signer = source.part("signer").data
    key = signer.get("key")
    if not isinstance(key, str) or not key.startswith(_FILE):
        return document
    name = key.removeprefix(_FILE)
    try:
        text = (root / name).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not in armor"
        hint = f"gpg --armor --export {signer.get('fingerprint', 'FINGERPRINT')} >{name}"
        where = document.origins.of("source.signer.key")
        raise ConfigurationError(f"cannot read {name}: {reason}", where=where, hint=hint) from error
    data = {**document.data, "source": {**source.data, "signer": {**signer, "key": text}}}
    return Document(data, document.origins)
