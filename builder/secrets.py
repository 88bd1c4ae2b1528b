"""Secrets, read at the last moment from where profiles say they are: they are in no plan, manifest, log or cache."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from builder.errors import ConfigurationError
from builder.model import k3s_ca
from builder.model.edits import PatchText, WriteSecret
from builder.model.patches import Record, SecretKind, SecretRef
from builder.model.plan import Plan
from builder.profile.document import Mark, Problem, nearest, refuse
from builder.profile.reader import parse

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
    """Resolves references; each is read once. `ask` puts a question to the person at the terminal; what is `given`, by
    reference, is not looked for."""

    def __init__(
        self, project: Path, ask: Callable[[str], str] | None = None, given: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._project, self._ask, self._given = project, ask, given
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
        if token.startswith("K10") and secret.reference in self._given and secret.ca not in self._given:
            return token  # a downloaded image is flashed where the cluster's authorities are not
        root = k3s_ca.root_digest(k3s_ca.from_text(self._checked(secret.ca, "k3s-ca")))
        if token.startswith("K10") and not token.startswith(f"K10{root}::"):
            raise ConfigurationError(
                f"is a token of another cluster than that of {secret.ca}",
                where=secret.reference,
                hint="use the password at its end alone",
            )
        return token if token.startswith("K10") else f"K10{root}::node:{token}"

    def require(self, wanted: Iterable[SecretRef]) -> None:
        """What will be asked for must be there before minutes of baking, and before a disk is touched."""
        for secret in wanted:
            self(secret)

    def _read(self, reference: str, kind: SecretKind) -> str:
        if reference in self._given:
            return self._given[reference]
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


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for secrets on their way, in memory where there is room for files in it (shm_overview(7))."""
    in_memory = Path("/dev/shm")  # noqa: S108 - the name in it is random, and nobody else's
    with TemporaryDirectory(prefix="pimu-", dir=in_memory if os.access(in_memory, os.W_OK) else None) as folder:
        yield Path(folder)


def secrets_of(plan: Plan) -> Iterator[SecretRef]:
    """Every secret that the node's image will hold."""
    for edit in plan.edits:
        if isinstance(edit, PatchText) and isinstance(edit.patch, Record):
            yield from (field for field in edit.patch.fields if isinstance(field, SecretRef))
        elif isinstance(edit, WriteSecret):
            yield edit.secret
    yield from (file.secret for file in plan.seed if file.secret is not None)


def given_secrets(wanted: Iterable[SecretRef], token_file: Path | None, set_file: Path | None) -> dict[str, str]:
    """By reference, what two files give: one a k3s token, one a mapping of YAML from references, or from kinds of which
    there is one, to secrets. Raises ConfigurationError."""
    names: dict[str, set[str]] = {}
    for secret in wanted:
        for name in (secret.reference, secret.kind):
            names.setdefault(name, set()).add(secret.reference)
        if secret.ca:
            names.setdefault("k3s-ca", set()).add(secret.ca)
            names.setdefault(secret.ca, set()).add(secret.ca)
    given: dict[str, str] = {}
    for mark, name, text in (*_set(set_file), *_token(token_file)):
        meant = names.get(name, set())
        if len(meant) != 1:
            several = f"is one of {len(meant)}, so name it as its profile does: {', '.join(sorted(meant))}"
            problem = several if meant else "is no secret that is wanted here"
            refuse([Problem(mark, f"{name}: {problem}", "" if meant else nearest(name, names))])
        given[meant.pop()] = text
    return given


def _set(file: Path | None) -> Iterator[tuple[Mark, str, str]]:
    if file is None:
        return
    document = parse(_read_private(file), str(file))
    for key, value in document.data.items():
        mark = document.origins.marks[key]
        if not isinstance(value, str):
            refuse([Problem(mark, f"{key}: is not text", "quote it")])
        yield mark, key, value


def _token(file: Path | None) -> Iterator[tuple[Mark, str, str]]:
    if file is not None:
        yield Mark(str(file), 0), "k3s-token", _read_private(file)


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
    """HMAC (RFC 2104): who knows the result knows nothing of the secret. Both forms of a token have one password."""
    password = secret.rpartition(":")[2]
    return hmac.new(password.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]
