"""A control plane of k3s on the Pi itself: what the kernel needs for it, its settings and tokens, and how it comes."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.guest import FILES
from builder.model.edits import Edit
from builder.model.k3s import K3sAgent, K3sCluster, K3sServer
from builder.model.k3s_ca import PLACED
from builder.model.patches import KernelWords, SecretRef
from builder.model.sources import CloudImageSource

_ETC, _STATE = "/etc/rancher/k3s", "/var/lib/rancher/k3s"
_AIRGAP = "k3s_cluster.airgap"
_CGROUPS = KernelWords(
    add=("cgroup_memory=1", "cgroup_enable=memory"), remove=("cgroup_memory=.*", "cgroup_(en|dis)able=memory")
)
"""A Pi's firmware says cgroup_disable=memory; the later words count (k3s's documentation, requirements)."""


def edits(context: Context) -> Iterator[Edit]:
    cluster = context.settings.k3s_cluster
    match context.settings.k3s:
        case K3sServer() as server if cluster is not None:
            yield from _server(context, server, cluster)
        case K3sAgent() if cluster is not None and cluster.airgap:
            if context.guest is not None and isinstance(context.guest.source, CloudImageSource):
                raise context.refuse(
                    f"{context.settings.name}'s guest has no curl, and would fetch it at its first boot",
                    key=_AIRGAP,
                    hint="say guest: alpine or guest: debian, or airgap: false",
                )
            yield context.place(f"{FILES}/airgap.img", "guest-airgap", key=_AIRGAP, scope="golden", mode=0o644)


def _server(context: Context, server: K3sServer, cluster: K3sCluster) -> Iterator[Edit]:
    first = _is_first(context, cluster)
    if not first and server.datastore != "etcd":
        raise context.refuse(
            f"the cluster's server is {cluster.server_name}, and with sqlite there is one",
            key="k3s.datastore",
            hint="say datastore: etcd for both, or k3s: null here",
        )
    yield context.patch("/cmdline.txt", _CGROUPS, volume="boot", key="k3s")
    if context.base.firmware == "raspi-firmware":
        # Its hook writes cmdline.txt anew at every kernel update, with this file's words.
        yield context.patch("/etc/default/raspi-extra-cmdline", _CGROUPS, scope="node", key="k3s")
    yield from context.overlay("k3s-release", key="k3s_cluster.version")
    yield from context.overlay("k3s", key="k3s_cluster.version")
    if cluster.airgap:
        yield context.place("/usr/local/bin/k3s", "k3s", key=_AIRGAP, scope="golden", mode=0o755)
        yield context.write("/var/lib/pimu/k3s-installed", f"{cluster.version}\n", key=_AIRGAP)
        for images in cluster.assets(context.base.architecture)[1:]:
            path = f"{_STATE}/agent/images/{images}"
            yield context.place(path, "k3s-images", key=_AIRGAP, scope="golden", mode=0o644)
    yield from context.overlay("k3s-node", key="k3s", scope="node", first=first, names=_names(context, cluster))
    yield from _secrets(context, cluster)
    if cluster.ca is not None:
        yield context.directory(f"{_STATE}/server", key="k3s_cluster.ca", mode=0o700)
        for part in PLACED:
            mode = 0o600 if part.endswith(".key") else 0o644
            secret = SecretRef(cluster.ca, "k3s-ca", part)
            yield context.secret(f"{_STATE}/server/tls/{part}", secret, key="k3s_cluster.ca", mode=mode)


def _is_first(context: Context, cluster: K3sCluster) -> bool:
    """Whether this node is the one that the others join."""
    settings = context.settings
    own = {settings.hostname, f"{settings.hostname}.{settings.domain}", _address(context)}
    return cluster.server_name in own


def _names(context: Context, cluster: K3sCluster) -> list[str]:
    """What the server's certificate is for, beside what k3s finds out by itself."""
    settings = context.settings
    assert isinstance(settings.k3s, K3sServer)
    given = [cluster.server_name, f"{settings.hostname}.{settings.domain}", cluster.address, _address(context)]
    return list(dict.fromkeys(name for name in (*given, *settings.k3s.tls_san) if name))


def _address(context: Context) -> str:
    ipv4 = context.settings.bridge.ipv4
    return "" if ipv4 == "dhcp" else ipv4.address.partition("/")[0]


def _secrets(context: Context, cluster: K3sCluster) -> Iterator[Edit]:
    token = SecretRef(cluster.token, "k3s-token")
    agent_token = SecretRef(cluster.agent_token, "k3s-token")
    password = SecretRef(cluster.token, "k3s-token", f"node-password/{context.settings.hostname}")
    yield context.secret(f"{_ETC}/token", token, key="k3s_cluster.token")
    yield context.secret(f"{_ETC}/agent-token", agent_token, key="k3s_cluster.agent_token")
    yield context.secret("/etc/rancher/node/password", password, key="k3s_cluster.token")
