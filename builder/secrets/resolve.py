"""Secrets, read at the last moment from where profiles say they are: they are in no plan, manifest, log or cache."""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from builder import limits
from builder.errors import ConfigurationError
from builder.host.files import leaves, read_named
from builder.model import k3s_ca, k3s_token
from builder.model.edits import PatchText, WriteSecret
from builder.model.k3s import K3sCluster
from builder.model.patches import Record, SecretKind, SecretRef
from builder.model.plan import Plan
from builder.model.secret_forms import HINTS, fault_of, given_password
from builder.profile.document import Mark, Problem, nearest, refuse
from builder.profile.reader import parse

_OTHERS = 0o077
_TYPED: tuple[SecretKind, ...] = ("password-hash", "k3s-token")
"""Kinds that a person can type as an answer; the others are files of many lines."""


class Secrets:
    """Resolves references; each is read once. `ask` puts a question to the person at the terminal. Secrets that
    are `given`, by reference, are not looked for."""

    def __init__(
        self, project: Path, ask: Callable[[str], str] | None = None, given: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._project, self._ask, self._given = project, ask, given
        self._found: dict[tuple[str, SecretKind], str] = {}

    def __call__(self, secret: SecretRef) -> str:
        """Raises ConfigurationError when the secret is absent, malformed, or open to others."""
        if secret.kind == "node-passwords" and secret.purpose in self._given:
            return given_password(self._given[secret.purpose].strip(), secret.purpose)
        found = self._checked(secret.reference, secret.kind)
        if secret.kind == "k3s-ca":
            return k3s_ca.from_text(found)[secret.purpose].rstrip() if secret.purpose else found
        if secret.kind == "k3s-token":
            return self._token(found, secret)
        return _derived(found, secret.purpose) if secret.purpose else found

    def _checked(self, reference: str, kind: SecretKind) -> str:
        if (reference, kind) not in self._found:
            found = self._read(reference, kind).strip()
            fault, hint = fault_of(found, kind)
            if fault:
                raise ConfigurationError(fault, where=reference, hint=hint)
            self._found[reference, kind] = found
        return self._found[reference, kind]

    def _token(self, found: str, secret: SecretRef) -> str:
        token = k3s_token.parse(found)
        refusal = token.refusal(secret.user) if secret.user else ""
        if refusal:
            raise ConfigurationError(refusal, where=secret.reference, hint=HINTS["k3s-token"])
        digest = self._digest(token, secret) if secret.ca else ""
        if secret.purpose == "password":
            if token.is_bootstrap:
                raise ConfigurationError(
                    "is a bootstrap token, and no server starts with one",
                    where=secret.reference,
                    hint="name a password in profiles/cluster.yaml, and give this one to a worker's disk alone, by "
                    "`flash NODE DEVICE --token-file FILE`",
                )
            return token.password
        if secret.purpose:
            return _derived(token.password, secret.purpose)
        return token.in_full(digest, secret.user or "node") if digest else found

    def _digest(self, token: k3s_token.Token, secret: SecretRef) -> str:
        """The digest of the cluster's root, by which an agent or a further server knows its server."""
        if token.digest and secret.reference in self._given and secret.ca not in self._given:
            return token.digest  # a downloaded image is flashed where the cluster's authorities are not
        try:
            root = k3s_ca.root_digest(k3s_ca.from_text(self._checked(secret.ca, "k3s-ca")))
        except ConfigurationError as fault:
            if secret.reference in self._given and secret.ca not in self._given:
                fault.hint = "give the token in full (K10...::node:...), which says whose it is without that file"
            raise
        if token.digest not in ("", root):
            raise ConfigurationError(
                f"is a token of another cluster than that of {secret.ca}",
                where=secret.reference,
                hint="a cluster that ran before has authorities of its own: take ca out of profiles/cluster.yaml then",
            )
        return root

    def require(self, wanted: Iterable[SecretRef]) -> None:
        """Find each secret before minutes of baking, and before a disk is touched. Raises ConfigurationError."""
        for secret in wanted:
            self(secret)

    def remarks(self, wanted: Iterable[SecretRef]) -> list[str]:
        """Warnings about tokens that k3s takes: a token that expires, a token that is short."""
        tokens = {
            secret.reference: k3s_token.parse(self._checked(secret.reference, secret.kind))
            for secret in wanted
            if secret.kind == "k3s-token"
        }
        return [f"{reference} {token.remark()}" for reference, token in tokens.items() if token.remark()]

    def require_apart(self, cluster: K3sCluster | None) -> None:
        """No worker's disk may hold a secret of the servers under another name. A secret that is not here cannot be
        compared: a user who builds workers alone need not have it. Raises ConfigurationError."""
        if cluster is None:
            return
        agents = self._password(cluster.agent_token)
        if agents and agents == self._password(cluster.token):
            raise ConfigurationError(
                f"is the servers' token too ({cluster.token}), and each worker would hold it",
                where=cluster.agent_token,
                hint="give agents a token of their own: `openssl rand -hex 24`",
            )
        if agents and cluster.node_passwords and agents == self._there(cluster.node_passwords):
            raise ConfigurationError(
                f"is the agents' token too ({cluster.agent_token}), and each worker would know all node passwords",
                where=cluster.node_passwords,
                hint=HINTS["node-passwords"],
            )

    def _password(self, reference: str) -> str:
        """A token's, or "" where there is none."""
        found = self._there(reference)
        try:
            return k3s_token.parse(found).password if found else ""
        except ValueError:
            return ""  # the feature that needs it raises the error

    def _there(self, reference: str) -> str:
        """A secret that can be had without a question, or ""."""
        asked = [found for (known, _), found in self._found.items() if known == reference]
        place, _, name = reference.partition(":")
        if asked or place == "prompt":
            return asked[0] if asked else ""
        is_there = reference in self._given or place == "env" or (self._project / Path(name).expanduser()).is_file()
        try:
            return self._read(reference, "k3s-token").strip() if is_there else ""
        except ConfigurationError:
            return ""

    def _read(self, reference: str, kind: SecretKind) -> str:
        if reference in self._given:
            return self._given[reference]
        place, _, name = reference.partition(":")
        if place == "env":
            if name not in os.environ:
                raise ConfigurationError(f"the environment has no {name}", hint="set it")
            return os.environ[name]
        if place == "file":
            return _private_text(self._project, name)
        if self._ask is None:
            raise ConfigurationError(f"nobody is there to be asked for the {kind}", hint="use env: or file:")
        return self._ask(kind)


class Slots(Secrets):
    """Secrets that a manifest asks for. A stranger may have written the manifest, so a reference in it is only a slot's
    name: a person fills it, and no file and no variable of this machine is looked at."""

    def __init__(self, ask: Callable[[str], str] | None, given: Mapping[str, str]) -> None:
        super().__init__(Path(), ask, {**given})

    def _read(self, reference: str, kind: SecretKind) -> str:
        if reference in self._given:
            return self._given[reference]
        if self._ask is None or kind not in _TYPED:
            raise ConfigurationError(
                f"is a {kind} that the image lacks, and was not given",
                where=reference,
                hint=f"{giving(kind)}; an IMAGE's references are never looked up, those of a NODE are: "
                "`flash NODE DEVICE`",
            )
        self._given = {**self._given, reference: self._ask(f"{kind} for {reference}")}
        return self._given[reference]


def giving(kind: SecretKind) -> str:
    """A hint: the options that give a secret of this kind. With an image
    alone a person has the node's own password, and not the cluster's."""
    name = "node-password" if kind == "node-passwords" else kind
    return f"give it with --set FILE (`{name}: ...`), or a k3s token with --token-file FILE"


def secrets_of(plan: Plan) -> Iterator[SecretRef]:
    """Every secret that the node's image will hold."""
    for edit in plan.edits:
        if isinstance(edit, PatchText) and isinstance(edit.patch, Record):
            yield from (field for field in edit.patch.fields if isinstance(field, SecretRef))
        elif isinstance(edit, WriteSecret):
            yield edit.secret
    yield from (file.secret for file in plan.seed if file.secret is not None)


def given_secrets(wanted: Iterable[SecretRef], token_file: Path | None, set_file: Path | None) -> dict[str, str]:
    """By reference, the secrets that two files give: one a k3s token, one a mapping of YAML from references, or from
    kinds of which there is one, to secrets. Raises ConfigurationError."""
    names: dict[str, set[str]] = {}
    for secret in wanted:
        for name in (secret.reference, secret.kind):
            names.setdefault(name, set()).add(secret.reference)
        if secret.ca:
            names.setdefault("k3s-ca", set()).add(secret.ca)
            names.setdefault(secret.ca, set()).add(secret.ca)
        if secret.kind == "node-passwords":  # the node's own, from somebody who does not have the cluster's
            names.setdefault("node-password", set()).add(secret.purpose)
    given: dict[str, str] = {}
    places: dict[str, Mark] = {}
    for mark, name, text in (*_set(set_file), *_token(token_file)):
        meant = names.get(name, set())
        if len(meant) != 1:
            several = f"is one of {len(meant)}, so name it as its profile does: {', '.join(sorted(meant))}"
            problem = several if meant else "is no secret that is wanted here"
            refuse([Problem(mark, f"{name}: {problem}", "" if meant else nearest(name, names))])
        (reference,) = meant
        if reference in given:
            fault = f"{name}: is the secret {reference}, which {places[reference]} gives too"
            refuse([Problem(mark, fault, "leave one of the two out")])
        given[reference], places[reference] = text, mark
    return given


def _set(file: Path | None) -> Iterator[tuple[Mark, str, str]]:
    if file is None:
        return
    document = parse(_private_text(Path(), str(file)), str(file))
    for key, value in document.data.items():
        mark = document.origins.marks[key]
        if not isinstance(value, str):
            refuse([Problem(mark, f"{key}: is not text", "quote it")])
        yield mark, key, value


def _token(file: Path | None) -> Iterator[tuple[Mark, str, str]]:
    if file is not None:
        yield Mark(str(file), 0), "k3s-token", _private_text(Path(), str(file))


def _private_text(root: Path, name: str) -> str:
    """A file of a secret, by its path below `root`, an absolute one, or one below a home (`~`)."""
    try:
        return read_named(root, name, limits.SECRET, check=functools.partial(_check_private, root, name)).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not text", where=name) from error
    except ConfigurationError as refused:
        hint = refused.hint
        if refused.message.endswith("No such file or directory"):
            hint = '`make setup` makes the secrets of a new project; for one of before see README.md, "Older projects"'
        raise ConfigurationError(refused.message, where=str(root / Path(name).expanduser()), hint=hint) from refused


def _check_private(root: Path, name: str, status: os.stat_result) -> None:
    """Another user's file may be changed after it was looked at. The person behind sudo is no other user, nor is the
    owner of the project for what lies in it."""
    owners = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        owners.add(int(os.environ["SUDO_UID"]))
    if not leaves(root, name):
        owners.add(root.stat().st_uid)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in owners:
        raise ConfigurationError(
            f"belongs to another user (uid {status.st_uid}), and it is a secret",
            hint=f"copy it: install -m 600 {name} FILE",
        )
    if mode & _OTHERS:
        raise ConfigurationError(
            f"is open to others (mode {mode:04o}), and it is a secret",
            hint=f"chmod 600 {root / Path(name).expanduser()}",
        )


def _derived(secret: str, purpose: str) -> str:
    """HMAC (RFC 2104): the secret cannot be found from the result."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]
