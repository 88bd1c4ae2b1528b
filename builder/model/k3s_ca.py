"""The certificate authorities of a k3s cluster as one file: PEM, each part under a comment with its name.

A server gets the parts in PLACED in /var/lib/rancher/k3s/server/tls before its first start, and k3s uses them for its
cluster. Only the file has the keys of root and intermediate. They are needed to make new parts later (k3s:
contrib/util, generate-custom-ca-certs.sh).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

ISSUED = ("client-ca", "server-ca", "request-header-ca", "etcd/peer-ca", "etcd/server-ca")
"""Authorities that the intermediate issues. The `.crt` of each holds the chain, with the root last."""

PLACED = (*(f"{name}.{suffix}" for name in ISSUED for suffix in ("crt", "key")), "service.key")
ROOT, INTERMEDIATE = "root-ca", "intermediate-ca"
PARTS = (*(f"{name}.{suffix}" for name in (ROOT, INTERMEDIATE) for suffix in ("crt", "key")), *PLACED)

_HEADING = re.compile(r"^# (\S+)$", re.MULTILINE)
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n")


def to_text(cluster: str, parts: Mapping[str, str]) -> str:
    head = (
        f"# The certificate authorities of the k3s cluster {cluster}, with their keys: who has them is the cluster.\n"
    )
    return head + "".join(f"\n# {name}\n{parts[name]}" for name in PARTS)


def from_text(text: str) -> dict[str, str]:
    """PEM by the part's name. Raises ValueError; its message never quotes the text."""
    pieces = _HEADING.split(f"{text}\n")
    parts = dict(zip(pieces[1::2], (f"{piece.strip()}\n" for piece in pieces[2::2]), strict=True))
    for name in PARTS:
        if name not in parts:
            raise ValueError(f"has no {name}")
        kinds = [kind for kind, _ in _BLOCK.findall(parts[name])]
        suffix = "CERTIFICATE" if name.endswith(".crt") else "PRIVATE KEY"
        if _BLOCK.sub("", parts[name]) or not kinds or not all(kind.endswith(suffix) for kind in kinds):
            raise ValueError(f"has a {name} that is not PEM of a {suffix.lower()}")
    return parts


def root_digest(parts: Mapping[str, str]) -> str:
    """The digest with which a token names its cluster: the sha256 of the root's DER (k3s: pkg/clientaccess, hashCA)."""
    ((_, body),) = _BLOCK.findall(parts[f"{ROOT}.crt"])
    return hashlib.sha256(base64.b64decode(body)).hexdigest()
