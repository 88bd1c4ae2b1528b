"""Parse and write a token of k3s, as k3s does.

Sources: k3s, pkg/clientaccess/token.go (parseToken), pkg/passwd/passwd.go (EnsureUser), docs/cli/token.md.

    PASSWORD                       the short form; k3s takes any text
    ID.SECRET                      a bootstrap token (`k3s token create`): six and sixteen of a-z and 0-9
    K10HASH::node:PASSWORD         in full, of the agents; HASH is the sha256 that names the cluster, or empty
    K10HASH::server:PASSWORD       in full, of the servers
    K10HASH::ID.SECRET             in full, a bootstrap token
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

User = Literal["node", "server"]

SHORTEST_GOOD = 16
"""Characters of a password. Anybody who reaches the server's port could guess a shorter one."""

_PREFIX = "K10"
_BOOTSTRAP = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_DIGEST = re.compile(r"([0-9a-f]{64})?")
_CARRIED = re.compile(r"[!#-&(-_a-~]+")
"""Printable ASCII without blanks and quotes. k3s strips blanks from the ends of a token's file, a newline would add a
line to it, and quotes mostly mean that somebody took the file for YAML or shell."""


@dataclass(frozen=True, slots=True)
class Token:
    """`digest` is the digest of the cluster's root, or "". `user` is "" if the text names no user. `password` is
    ID.SECRET for a bootstrap token."""

    digest: str
    user: str
    password: str = field(repr=False)
    is_bootstrap: bool
    is_full: bool

    def refusal(self, user: User) -> str:
        """The reason why the token does not admit `user`, or ""."""
        if self.user not in ("", user):
            if self.user == "server":
                return "is the servers' token (K10...::server:...): it admits servers, and each agent would hold it"
            return "is the agents' token (K10...::node:...)" if self.user == "node" else "is for another user of k3s"
        if user == "server" and self.is_bootstrap:
            return "is a bootstrap token, which admits agents alone"
        return ""

    def remark(self) -> str:
        """A warning about a token that k3s takes, to follow its reference in a message; "" for a good token."""
        if self.is_bootstrap:
            return (
                "is a bootstrap token: it expires (`k3s token list` on the server says when), and a worker that starts "
                "for the first time after that cannot join"
            )
        if len(self.password) < SHORTEST_GOOD:
            return f"has fewer than {SHORTEST_GOOD} characters, and may be guessed"
        return ""

    def in_full(self, digest: str, user: User) -> str:
        """The token in full, so that it works only for the cluster with this digest of its root."""
        return f"{_PREFIX}{digest}::{self.password if self.is_bootstrap else f'{user}:{self.password}'}"


def parse(text: str) -> Token:
    """Raises ValueError; its message never quotes the text."""
    if not text:
        raise ValueError("is empty")
    if not _CARRIED.fullmatch(text):
        raise ValueError("holds a blank, a quote, a second line or a sign that is not printable ASCII")
    if not text.startswith(_PREFIX):
        return Token("", "", text, is_bootstrap=bool(_BOOTSTRAP.fullmatch(text)), is_full=False)
    digest, separator, credentials = text.removeprefix(_PREFIX).partition("::")
    if not separator or not _DIGEST.fullmatch(digest):
        raise ValueError("begins with K10 and does not go on with the 64 hexadecimal digits of a hash and ::")
    if _BOOTSTRAP.fullmatch(credentials):
        return Token(digest, "", credentials, is_bootstrap=True, is_full=True)
    user, separator, password = credentials.partition(":")
    if not separator or not password:
        raise ValueError("ends in neither USER:PASSWORD nor a bootstrap token's ID.SECRET")
    return Token(digest, user, password, is_bootstrap=False, is_full=True)
