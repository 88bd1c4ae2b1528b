"""The guest's NoCloud seed: the rendered templates of cloud-init/, and the files with which it joins its k3s
cluster."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from builder import limits
from builder.errors import ConfigurationError
from builder.features.context import Context
from builder.model.guest_seed import GuestSeed
from builder.model.overlays import OverlayFile
from builder.model.plan import SeedFile
from builder.plan import network_config, seed_conf, user_data
from builder.plan.seed_document import SeedText, document, quoting

JOIN_SCRIPT = "k3s-join.sh"
_REQUIRED = ("meta-data", "user-data")
_UNREAD = ("vendor-data",)


def seed_files(context: Context, templates: Iterable[OverlayFile]) -> tuple[SeedFile, ...]:
    """The files of the seed. A node without a guest has none. A node without a cluster has no join script.

    Raises ConfigurationError for a key that the guest would treat in another way than cloud-init, for a guest that
    nobody could reach, and for a seed that is too large.
    """
    if context.guest is None:
        return ()
    cluster, agent = context.settings.k3s_cluster, context.settings.k3s
    joins = cluster is not None and agent is not None
    files, texts = [], {}
    for file in sorted(templates, key=lambda file: file.path):
        name = posixpath.basename(file.path)
        if name == JOIN_SCRIPT and not joins:
            continue
        content = context.text(file, k3s=cluster).encode() if file.is_template else file.content
        files.append(SeedFile(name, content, file.origin))
        texts[name] = SeedText(name, content, file.origin, file.is_template)
    if joins:
        files += [*_release(context), *_secrets(context)]
    _require_room(files)
    files.append(_conf(context, texts))
    _require_names(files)
    return tuple(files)


def _conf(context: Context, texts: dict[str, SeedText]) -> SeedFile:
    for name in _REQUIRED:
        if name not in texts:
            hint = "take it from the original project: without it the guest has no name or no account"
            raise ConfigurationError("is missing", where=f"cloud-init/{name}.j2", hint=hint)
    for name in _UNREAD:
        if name in texts:
            hint = "what it says belongs into user-data"
            raise ConfigurationError("is read by no guest", where=texts[name].origin, hint=hint)
    seed = _guest_seed(context, texts)
    return SeedFile(seed_conf.NAME, seed_conf.to_text(seed).encode(), texts["user-data"].origin)


def _guest_seed(context: Context, texts: dict[str, SeedText]) -> GuestSeed:
    settings, guest = context.settings, context.guest
    assert guest is not None
    with quoting(*texts.values()):
        users, meta = document(texts["user-data"]), document(texts["meta-data"])
        accounts = user_data.accounts(users, guest, settings.guest, settings.user.name)
        fqdn = user_data.full_name(users, meta, settings.guest_hostname)
        network = network_config.DHCP
        if "network-config" in texts:
            network = network_config.network(document(texts["network-config"]), context.identity.guest_mac)
    return GuestSeed(settings.guest_hostname, fqdn, accounts, network)


def _require_room(files: Sequence[SeedFile]) -> None:
    total = sum(len(file.content) for file in files)
    if total > limits.SEED:
        largest = max(files, key=lambda file: len(file.content))
        said = f"has {len(largest.content)} bytes, and all files of a guest's seed may have {limits.SEED}"
        raise ConfigurationError(said, where=largest.origin, hint="a guest can fetch it by runcmd or k3s-join.sh")


def _require_names(files: Sequence[SeedFile]) -> None:
    """Raises ConfigurationError for two files with one name (FAT takes `a` and `A` as one). A file of cloud-init/ must
    not replace one that the build makes."""
    taken: dict[str, SeedFile] = {}
    for file in files:
        first = taken.setdefault(file.name.casefold(), file)
        if first is not file:
            hint = "the build makes one of them itself; give yours another name"
            said = f"has the name {first.name} on the guest's seed, as {file.origin} has"
            raise ConfigurationError(said, where=first.origin, hint=hint)


def _release(context: Context) -> Iterator[SeedFile]:
    """The files that fetch k3s. A Pi that is a server has the same ones."""
    for file in context.files("k3s-release"):
        yield SeedFile(posixpath.basename(file.path), file.content, file.origin)


def _secrets(context: Context) -> Iterator[SeedFile]:
    """The token and the node's own password. The server keeps the password's hash, and a node can join again under its
    name only with the same password (k3s's documentation, node password)."""
    cluster, name = context.settings.k3s_cluster, context.settings.guest_hostname
    assert cluster is not None
    yield SeedFile("k3s-token", b"", context.origins.of("k3s_cluster.agent_token"), cluster.join_token("node"))
    key = "agent_token" if cluster.node_passwords is None else "node_passwords"
    password = cluster.node_password(name, "node")
    yield SeedFile("k3s-node-password", b"", context.origins.of(f"k3s_cluster.{key}"), password)
