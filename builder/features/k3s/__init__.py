"""A control plane of k3s on the Pi itself: kernel words, settings, tokens, and the release."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.features.guest import FILES
from builder.model.edits import Edit
from builder.model.k3s import K3sAgent, K3sCluster, K3sServer
from builder.model.k3s_ca import PLACED
from builder.model.patches import KernelWords, SecretRef
from builder.model.plan import Note
from builder.model.sources import CloudImageSource

_ETC, _STATE = "/etc/rancher/k3s", "/var/lib/rancher/k3s"
_AIRGAP = "k3s_cluster.airgap"
_CGROUPS = KernelWords(
    add=("cgroup_memory=1", "cgroup_enable=memory"), remove=("cgroup_memory=.*", "cgroup_(en|dis)able=memory")
)
"""A Pi's firmware passes cgroup_disable=memory; a later word overrides it (k3s's documentation, requirements)."""


def edits(context: Context) -> Iterator[Wish]:
    cluster = context.settings.k3s_cluster
    if cluster is not None and context.settings.k3s is not None:
        yield from _notes(context, cluster)
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


def _notes(context: Context, cluster: K3sCluster) -> Iterator[Note]:
    """Notes on `node_passwords` and `ca` when they are absent. Older projects have neither, and only the owner can
    change them for a running cluster."""
    if cluster.node_passwords is None:
        yield Note(
            context.feature,
            "k3s in profiles/cluster.yaml has no node_passwords: they follow from the tokens, and whoever has one "
            "worker's SSD can be any other worker. To change it, write the output of `openssl rand -hex 24` into "
            "profiles/access/node-passwords (mode 0600) and say `node_passwords: file:profiles/access/node-passwords`. "
            "A node that joined before and is flashed again is refused then, until you run `kubectl -n kube-system "
            "delete secret NODE.node-password.k3s`",
        )
    if cluster.ca is None:
        yield Note(
            context.feature,
            "k3s in profiles/cluster.yaml has no ca: unless the token is in full (K10HASH::node:PASSWORD), nodes give "
            f"it to whoever answers at {cluster.server}. For a cluster that runs already, take the agents' token from "
            "its server's /var/lib/rancher/k3s/server/agent-token, which is in full; ca is for a cluster that has "
            "never started",
        )


def _server(context: Context, server: K3sServer, cluster: K3sCluster) -> Iterator[Wish]:
    first = _is_first(context, cluster)
    if not first and server.datastore != "etcd":
        raise context.refuse(
            f"the cluster's server is {cluster.server_name}, and with sqlite there is one",
            key="k3s.datastore",
            hint="say datastore: etcd for both, or k3s: null here",
        )
    yield context.kernel_words(_CGROUPS, key="k3s")
    yield from context.overlay("k3s-release", key="k3s_cluster.version")
    yield from context.overlay("k3s", key="k3s_cluster.version")
    if cluster.airgap:
        yield context.place("/usr/local/bin/k3s", "k3s", key=_AIRGAP, scope="golden", mode=0o755)
        yield context.write("/var/lib/pimu/k3s-installed", f"{cluster.version}\n", key=_AIRGAP)
        for images in cluster.assets(context.base.architecture)[1:]:
            path = f"{_STATE}/agent/images/{images}"
            yield context.place(path, "k3s-images", key=_AIRGAP, scope="golden", mode=0o644)
    yield from context.overlay("k3s-node", key="k3s", scope="node", first=first, names=_names(context, cluster))
    yield from _secrets(context, cluster, first=first)
    if cluster.ca is not None:
        yield context.directory(f"{_STATE}/server", key="k3s_cluster.ca", mode=0o700)
        for part in PLACED:
            mode = 0o600 if part.endswith(".key") else 0o644
            secret = SecretRef(cluster.ca, "k3s-ca", part)
            yield context.secret(f"{_STATE}/server/tls/{part}", secret, key="k3s_cluster.ca", mode=mode)


def _is_first(context: Context, cluster: K3sCluster) -> bool:
    """Whether this node is the server that the other nodes join."""
    settings = context.settings
    own = {settings.hostname, f"{settings.hostname}.{settings.domain}", _address(context)}
    return cluster.server_name in own


def _names(context: Context, cluster: K3sCluster) -> list[str]:
    """Names and addresses for the server's certificate, in addition to those that k3s finds by itself."""
    settings = context.settings
    assert isinstance(settings.k3s, K3sServer)
    given = [cluster.server_name, f"{settings.hostname}.{settings.domain}", cluster.address, _address(context)]
    return list(dict.fromkeys(name for name in (*given, *settings.k3s.tls_san) if name))


def _address(context: Context) -> str:
    ipv4 = context.settings.bridge.ipv4
    return "" if ipv4 == "dhcp" else ipv4.address.partition("/")[0]


def _secrets(context: Context, cluster: K3sCluster, *, first: bool) -> Iterator[Edit]:
    """The tokens and the node's password. A further server sends its token to the first one. With `ca` the token names
    the cluster's root, so that the further server recognises the first one before it sends the token."""
    token = cluster.admitting("server") if first else cluster.join_token("server")
    password = cluster.node_password(context.settings.hostname, "server")
    key = "token" if cluster.node_passwords is None else "node_passwords"
    yield context.secret(f"{_ETC}/token", token, key="k3s_cluster.token")
    yield context.secret(f"{_ETC}/agent-token", cluster.admitting("node"), key="k3s_cluster.agent_token")
    yield context.secret("/etc/rancher/node/password", password, key=f"k3s_cluster.{key}")


FEATURE = Feature(name="k3s", order=180, package=__name__, edits=edits)
