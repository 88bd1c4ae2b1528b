"""The guest's NoCloud seed: what cloud-init/ makes of the node's settings, and what it joins its k3s cluster with."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from builder.features.context import Context
from builder.model.overlays import OverlayFile
from builder.model.patches import SecretRef
from builder.model.plan import SeedFile

JOIN_SCRIPT = "k3s-join.sh"


def seed_files(context: Context, templates: Iterable[OverlayFile]) -> Iterator[SeedFile]:
    """None for a node without a guest; without a cluster to join, no join script."""
    if context.guest is None:
        return
    cluster, agent = context.settings.k3s_cluster, context.settings.k3s
    joins = cluster is not None and agent is not None
    for file in sorted(templates, key=lambda file: file.path):
        name = posixpath.basename(file.path)
        if name == JOIN_SCRIPT and not joins:
            continue
        content = context.text(file, k3s=cluster).encode() if file.is_template else file.content
        yield SeedFile(name, content, file.origin)
    if joins:
        yield from _release(context)
        yield from _secrets(context)


def _release(context: Context) -> Iterator[SeedFile]:
    """How k3s is fetched, in the words of the Pi's own servers."""
    for file in context.files("k3s-release"):
        yield SeedFile(posixpath.basename(file.path), file.content, file.origin)


def _secrets(context: Context) -> Iterator[SeedFile]:
    """The token, and a password for the node that follows from it: the server keeps its hash, and lets a node come back
    under its name only with the same one (k3s's documentation, node password)."""
    cluster = context.settings.k3s_cluster
    assert cluster is not None
    origin = context.origins.of("k3s_cluster.agent_token")
    purpose = f"node-password/{context.settings.guest_hostname}"
    token = SecretRef(cluster.agent_token, "k3s-token", ca=cluster.ca or "")
    yield SeedFile("k3s-token", b"", origin, token)
    yield SeedFile("k3s-node-password", b"", origin, SecretRef(cluster.agent_token, "k3s-token", purpose))
