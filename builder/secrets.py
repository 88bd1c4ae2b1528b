"""Secrets, read at the last moment from where profiles say they are: they are in no plan, manifest, log or cache."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.errors import ConfigurationError
from builder.model.edits import PatchText, WriteSecret
from builder.model.patches import Record, SecretKind, SecretRef
from builder.model.plan import Plan

_FORMS: dict[SecretKind, tuple[str, str, str]] = {
    # crypt(5), prefix and no colon: an empty field in shadow(5) would be an account without a password.
    "password-hash": (
        r"\$[^:\s]+",
        "is not a password's hash in the form of crypt(5)",
        "make one with `mkpasswd` or `openssl passwd -6`",
    ),
    # K10<hash of the CA>::<user>:<password>, or the password alone (k3s's documentation, token).
    "k3s-token": (
        r"(K10[0-9a-f]{64}::[a-z]+:)?[A-Za-z0-9._-]{16,}",
        "is not a k3s token: 16 or more of A-Z, a-z, 0-9, dot, hyphen and underscore, or K10...::node:...",
        "make one with `openssl rand -hex 16`",
    ),
}
_OTHERS = 0o077


class Secrets:
    """Resolves references; each is read once. `ask` puts a question to the person at the terminal."""

    def __init__(self, project: Path, ask: Callable[[str], str] | None = None) -> None:
        self._project, self._ask = project, ask
        self._found: dict[tuple[str, SecretKind], str] = {}

    def __call__(self, secret: SecretRef) -> str:
        """Raises ConfigurationError when the secret is not there, not what it should be, or open to others."""
        key = secret.reference, secret.kind
        if key not in self._found:
            form, fault, hint = _FORMS[secret.kind]
            found = self._read(secret).strip()
            if not re.fullmatch(form, found):
                raise ConfigurationError(fault, where=secret.reference, hint=hint)
            self._found[key] = found
        return _derived(self._found[key], secret.purpose) if secret.purpose else self._found[key]

    def require(self, plans: Sequence[Plan]) -> None:
        """What the nodes' stamps will ask for must be there before minutes of baking."""
        for plan in plans:
            for secret in secrets_of(plan):
                self(secret)

    def _read(self, secret: SecretRef) -> str:
        kind, _, name = secret.reference.partition(":")
        if kind == "env":
            if name not in os.environ:
                raise ConfigurationError(f"the environment has no {name}", hint="set it")
            return os.environ[name]
        if kind == "file":
            return _read_private(self._project / Path(name).expanduser())
        if self._ask is None:
            raise ConfigurationError(f"nobody is there to be asked for the {secret.kind}", hint="use env: or file:")
        return self._ask(secret.kind)


def secrets_of(plan: Plan) -> Iterator[SecretRef]:
    """Every secret that the node's image will hold."""
    for edit in plan.edits:
        if isinstance(edit, PatchText) and isinstance(edit.patch, Record):
            yield from (field for field in edit.patch.fields if isinstance(field, SecretRef))
        elif isinstance(edit, WriteSecret):
            yield edit.secret
    yield from (file.secret for file in plan.seed if file.secret is not None)


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not text", where=str(path)) from error
    except OSError as refused:
        hint = "`make setup` makes the key and the tokens that cluster.yaml names, when there are none"
        raise ConfigurationError(f"cannot be read: {refused.strerror}", where=str(path), hint=hint) from refused
    if mode & _OTHERS:
        raise ConfigurationError(
            f"is open to others (mode {mode:04o}), and it is a secret", where=str(path), hint=f"chmod 600 {path}"
        )
    return text


def _derived(secret: str, purpose: str) -> str:
    """HMAC (RFC 2104): who knows the result knows nothing of the secret."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]
