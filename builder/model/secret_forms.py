"""The forms of secrets: a password's hash, a token, a cluster's authorities. A message about a fault never quotes the
secret."""

from __future__ import annotations

import re

from builder import limits
from builder.errors import ConfigurationError
from builder.model import k3s_ca, k3s_token
from builder.model.patches import SecretKind

_HASHES = {
    "y": r"\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}",
    "gy": r"\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}",
    "7": r"\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}",
    "2[aby]": r"\$[0-9]{2}\$[./A-Za-z0-9]{53}",
    "6": r"\$(rounds=[1-9][0-9]{3,8}\$)?[^$:\s]{1,16}\$[./A-Za-z0-9]{86}",
    "5": r"\$(rounds=[1-9][0-9]{3,8}\$)?[^$:\s]{1,16}\$[./A-Za-z0-9]{43}",
}
"""The rest of a hash after `$METHOD`, by method, with the lengths of crypt(5). A shorter hash would lock out the
user."""
_WEAK = re.compile(r"\$(1|3|md5[^$]*|sha1|2x)\$")
"""Methods that crypt(5) calls too weak for new hashes, or broken."""
_FORMS: dict[SecretKind, tuple[str, str]] = {
    # It must have a prefix and no colon: an empty field in shadow(5) means that no password is needed.
    "password-hash": (
        rf"\$({'|'.join(method + rest for method, rest in _HASHES.items())})",
        "is not a password's hash in the form of crypt(5), with its whole length",
    ),
    # A short one could be found by trying: each worker knows its own node password, which is derived from it.
    "node-passwords": (
        r"[!-~]{32,}",
        "is not a secret for node passwords: 32 or more signs of printable ASCII without blanks",
    ),
}
_OF_A_NODE = re.compile(r"[!-~]{16,}")
"""The form of a node's own password. k3s takes any text that fits into a header of HTTP (k3s:
pkg/nodepassword/validate.go)."""
HINTS: dict[SecretKind, str] = {
    "password-hash": "make one with `mkpasswd` or `openssl passwd -6`; in a shell, write it in single quotes, or $... "
    "is a variable",
    "node-passwords": "make one with `openssl rand -hex 24`, and keep it: node passwords follow from it",
    "k3s-token": "`openssl rand -hex 24` makes one for a new cluster; a running one has its own in "
    "/var/lib/rancher/k3s/server",
    "k3s-ca": "make one with `pimu-build k3s-ca --to FILE`",
}


def fault_of(found: str, kind: SecretKind) -> tuple[str, str]:
    """The fault of a secret and a hint, neither of which quotes the secret. Both are "" for a good secret."""
    try:
        if kind == "k3s-ca":
            k3s_ca.from_text(found)
        elif kind == "k3s-token":
            if len(found) > limits.TOKEN:
                raise ValueError(f"has {len(found)} characters, and {limits.TOKEN} are the most")
            k3s_token.parse(found)
    except ValueError as wrong:
        what = "the file of a cluster's certificate authorities" if kind == "k3s-ca" else "a k3s token"
        return f"is not {what}: it {wrong}", HINTS[kind]
    if kind not in _FORMS:
        return "", ""
    form, fault = _FORMS[kind]
    if kind == "password-hash" and _WEAK.match(found):
        return "is a password hash of a method that is too weak (crypt(5))", HINTS[kind]
    return ("", "") if re.fullmatch(form, found) else (fault, HINTS[kind])


def given_password(found: str, purpose: str) -> str:
    if not _OF_A_NODE.fullmatch(found) or len(found) > limits.TOKEN:
        fault = "is not a node's password: 16 or more signs of printable ASCII without blanks"
        raise ConfigurationError(fault, where=purpose, hint="make one with `openssl rand -hex 16`, and keep it")
    return found
