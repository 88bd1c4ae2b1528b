"""Secrets, read at the last moment from where profiles say they are: they are in no plan, manifest, log or cache."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.errors import ConfigurationError
from builder.model import k3s_ca
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
_MAKE_CA = "make one with `pimu-build k3s-ca --to FILE`"
_OTHERS = 0o077


class Secrets:
    """Resolves references; each is read once. `ask` puts a question to the person at the terminal."""

    def __init__(self, project: Path, ask: Callable[[str], str] | None = None) -> None:
        self._project, self._ask = project, ask
        self._found: dict[tuple[str, SecretKind], str] = {}

    def __call__(self, secret: SecretRef) -> str:
        """Raises ConfigurationError when the secret is not there, not what it should be, or open to others."""
        found = self._checked(secret.reference, secret.kind)
        if secret.kind == "k3s-ca":
            return k3s_ca.from_text(found)[secret.purpose].rstrip() if secret.purpose else found
        if secret.purpose:
            return _derived(found, secret.purpose)
        return self._pinned(found, secret) if secret.ca else found

    def _checked(self, reference: str, kind: SecretKind) -> str:
        if (reference, kind) not in self._found:
            found = self._read(reference, kind).strip()
            fault, hint = _fault(found, kind)
            if fault:
                raise ConfigurationError(fault, where=reference, hint=hint)
            self._found[reference, kind] = found
        return self._found[reference, kind]

    def _pinned(self, token: str, secret: SecretRef) -> str:
        """An agent's token that also says which server may be given it (k3s's documentation, token)."""
        root = k3s_ca.root_digest(k3s_ca.from_text(self._checked(secret.ca, "k3s-ca")))
        if token.startswith("K10") and not token.startswith(f"K10{root}::"):
            raise ConfigurationError(
                f"is a token of another cluster than that of {secret.ca}",
                where=secret.reference,
                hint="use the password at its end alone",
            )
        return token if token.startswith("K10") else f"K10{root}::node:{token}"

    def require(self, plans: Sequence[Plan]) -> None:
        """What the nodes' stamps will ask for must be there before minutes of baking."""
        for plan in plans:
            for secret in secrets_of(plan):
                self(secret)

    def _read(self, reference: str, kind: SecretKind) -> str:
        place, _, name = reference.partition(":")
        if place == "env":
            if name not in os.environ:
                raise ConfigurationError(f"the environment has no {name}", hint="set it")
            return os.environ[name]
        if place == "file":
            return _read_private(self._project / Path(name).expanduser())
        if self._ask is None:
            raise ConfigurationError(f"nobody is there to be asked for the {kind}", hint="use env: or file:")
        return self._ask(kind)


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


def _fault(found: str, kind: SecretKind) -> tuple[str, str]:
    """What is wrong with a secret, without a word of it, and what to do; twice nothing for a good one."""
    if kind == "k3s-ca":
        try:
            k3s_ca.from_text(found)
        except ValueError as wrong:
            return f"is not the file of a cluster's certificate authorities: it {wrong}", _MAKE_CA
        return "", ""
    form, fault, hint = _FORMS[kind]
    return ("", "") if re.fullmatch(form, found) else (fault, hint)


def _derived(secret: str, purpose: str) -> str:
    """HMAC (RFC 2104): who knows the result knows nothing of the secret."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]
