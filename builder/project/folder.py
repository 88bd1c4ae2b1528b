"""Read the user's project folder strictly: profiles become settings, overlays and cloud-init become values."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError
from builder.features import CLUSTER_KEYS, NODE_KEYS, NODE_SETTINGS, ROLE_KEYS
from builder.model.cluster import Cluster
from builder.model.identity import Identity
from builder.model.k3s import K3sCluster
from builder.model.overlays import OverlayFile
from builder.model.settings import Base, Guest, NodeSettings
from builder.model.sources import AptSource, archives_of
from builder.model.values import LABEL
from builder.profile import (
    Document,
    Mark,
    Origins,
    Problem,
    Resolved,
    derived,
    merge,
    nearest,
    parse,
    refuse,
    refuse_unknown,
    validate,
)
from builder.project.collisions import distinct_identities
from builder.project.door import Door
from builder.project.overlays import read_cloud_init, read_overlays
from builder.project.public_keys import public_keys
from builder.project.signers import with_public_key
from builder.text import one_line

_REQUIRED = ("profiles/cluster.yaml", "profiles/bases", "profiles/roles", "overlays/manifest.yaml", "cloud-init")
_ANSWERS = "/answers"
_DEFAULT = "default"
_NAME_LENGTH = 59
"""The 63 characters of a host name (RFC 1123), minus the 4 of the suffix in the guest's host name."""


class Project:
    """The project in the folder `root`. `reserved_names` are words of the command line, which cannot be node names.

    Every method raises ConfigurationError with file and line. Origins are paths relative to `root`. `references` has
    the public keys of `file:PATH` that were read so far: PATH and the origin that names it.
    """

    def __init__(self, root: Path, reserved_names: Collection[str] = ()) -> None:
        self.root = root
        self.references: dict[str, str] = {}
        self._door = Door(root)
        self._reserved_names = reserved_names
        self._documents: dict[str, Document] = {}
        missing = [name for name in _REQUIRED if not (root / name).exists()]
        if missing:
            raise ConfigurationError(
                f"{root.resolve()} is not a project folder: it has no {', '.join(missing)}",
                hint="go to the project's folder, or name it with --project DIR",
            )

    @cached_property
    def overlays(self) -> dict[str, tuple[OverlayFile, ...]]:
        """The files of overlays/ by set: `features/swap`, `roles/worker`."""
        overlays = read_overlays(self._door, self._read("overlays/manifest.yaml"))
        roles = self.names("roles")
        for name in overlays:
            kind, _, role = name.partition("/")
            if kind == "roles" and role not in roles:
                raise ConfigurationError(
                    f"there is no role {role}", where=f"overlays/{name}", hint=nearest(role, roles)
                )
        return overlays

    @cached_property
    def seed(self) -> tuple[OverlayFile, ...]:
        """The templates of cloud-init/ for the guest's seed disk."""
        return tuple(file for file in self._cloud_init if file.path != _ANSWERS)

    @property
    def answers(self) -> OverlayFile | None:
        """The template of cloud-init/ for the guest's installer. It is not on the seed disk."""
        return next((file for file in self._cloud_init if file.path == _ANSWERS), None)

    @cached_property
    def _cloud_init(self) -> tuple[OverlayFile, ...]:
        return read_cloud_init(self._door)

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of the files in profiles/KIND/ (bases, guests, roles, presets or nodes). Raises ConfigurationError for
        a file that does not end in .yaml."""
        files = [Path(entry.name) for entry in self._door.entries(f"profiles/{kind}") if not entry.name.startswith(".")]
        for file in (file for file in files if file.suffix != ".yaml"):
            hint = f"name it {one_line(file.stem)}.yaml"
            raise ConfigurationError("would not be read", where=f"profiles/{kind}/{file}", hint=hint)
        return tuple(file.stem for file in files)

    @property
    def default_base(self) -> str:
        """The base in cluster.yaml."""
        return validate(Cluster, self._read("profiles/cluster.yaml")).base

    @property
    def cluster_name(self) -> str:
        return validate(Cluster, self._read("profiles/cluster.yaml")).name

    def base(self, name: str) -> Base:
        """The facts of profiles/bases/NAME.yaml."""
        return validate(Base, self._with_key(f"profiles/bases/{name}.yaml").without("defaults"))

    def archives(self) -> tuple[AptSource, ...]:
        """The archives in profiles/bases/ and profiles/guests/."""
        bases = (self.base(name).source for name in self.names("bases"))
        guests = (self.guest(name).source for name in self.names("guests"))
        return tuple(archive for source in (*bases, *guests) for archive in archives_of(source))

    def guest(self, name: str) -> Guest:
        """The facts of profiles/guests/NAME.yaml."""
        return validate(Guest, self._with_key(f"profiles/guests/{name}.yaml"))

    def settings(
        self,
        node: str,
        role: str | None = None,
        base: str | None = None,
        guest: str | None = None,
        *,
        preset: str | None = None,
    ) -> Resolved:
        """The node, merged from base, role, preset and node; later ones win. `role`, `base`, `guest` and `preset` come
        from the command line.

        `base` and `guest` win over the profiles. A `role` that differs from the one in the node's file is refused: in a
        command with several nodes it could turn a control plane into a worker.
        """
        self._check_node_name(node)
        cluster = self._cluster()
        own = self._layer("nodes", node, NODE_KEYS) if node in self.names("nodes") else derived({}, node)
        _check_role(node, role, own)
        asked = {key: name for key, name in (("role", role), ("base", base)) if name is not None}
        choice = merge(cluster.only("role", "base"), own.only("role", "base"), derived(asked, "the command line"))
        role_layer = self._role(node, choice)
        base_document = self._read(f"profiles/bases/{self._choose('bases', choice, 'base')}.yaml")
        defaults = base_document.part("defaults")
        refuse_unknown(defaults, ROLE_KEYS)
        merged = merge(
            self._server_address(cluster),
            cluster.only(*CLUSTER_KEYS),
            derived({"name": node, "hostname": node, "guest_hostname": _guest_hostname(node)}, "the node's name"),
            choice,
            defaults,
            role_layer,
            self._preset(preset, role_layer),
            own.without("role", "base"),
            derived({} if guest is None else {"guest": guest}, "the command line"),
        )
        if merged.data["guest"] == _DEFAULT:
            merged = merge(merged, _default_guest(merged, defaults))
        marks = {**merged.origins.marks, **_prefixed("base", base_document.origins), "": role_layer.origins.mark("")}
        document = Document(merged.data, Origins(marks))
        settings = validate(NODE_SETTINGS, document)
        return Resolved(settings, self.base(settings.base), self._guest(settings, document), document.origins)

    def identities(self, asked: Sequence[Resolved]) -> dict[str, Identity]:
        """The identities of the nodes `asked`, by name. Raises ConfigurationError when one collides with another node.

        The nodes of profiles/nodes/ are compared too. A node without a role gets the role of the first one in `asked`.
        """
        nodes = {node.settings.name: node for node in asked}
        fallback = asked[0].settings.role
        for name in self.names("nodes"):
            if name not in nodes:
                nodes[name] = self.settings(name, role=self.role_for(name, fallback))
        identities = distinct_identities(tuple(nodes.values()), self.names("nodes"))
        return {node.settings.name: identities[node.settings.name] for node in asked}

    def role_for(self, node: str, fallback: str | None) -> str | None:
        """The role to ask for, or None if the profiles give the node's role."""
        if node not in self.names("nodes"):
            return fallback
        said = "role" in self._layer("nodes", node, NODE_KEYS).data or "role" in self._cluster().data
        return None if said else fallback

    # Parts of a node --------------------------------------------------------------------------------------------------

    def _with_key(self, file: str) -> Document:
        return with_public_key(self._read(file), self.root, self.references)

    def _cluster(self) -> Document:
        """cluster.yaml with the keys of NodeSettings, and with public keys instead of their files' names."""
        document = self._read("profiles/cluster.yaml")
        cluster = validate(Cluster, document)
        keys = public_keys(cluster.user.ssh_keys, self.root, document.origins, self.references)
        user = {**document.data["user"], "ssh_keys": keys}
        data = {**document.data, "cluster": cluster.name, "user": user}
        marks = {**document.origins.marks, "cluster": document.origins.mark("name")}
        if "k3s" in data:
            data["k3s_cluster"] = data["k3s"]
            marks |= _prefixed("k3s_cluster", document.part("k3s").origins) | {"k3s_cluster": marks["k3s"]}
        return Document(data, Origins(marks))

    def _server_address(self, cluster: Document) -> Document:
        """The address of k3s's server, if the server's node has a fixed address in its file; else an empty document."""
        k3s = cluster.data.get("k3s_cluster")
        name = validate(K3sCluster, cluster.part("k3s_cluster")).server_name.partition(".")[0] if k3s else ""
        if name not in self.names("nodes"):
            return derived({}, "")
        own = self._read(f"profiles/nodes/{name}.yaml")
        ipv4 = own.part("bridge").data.get("ipv4")
        address = ipv4.get("address") if isinstance(ipv4, dict) else None
        if not isinstance(address, str):
            return derived({}, "")
        data = {"k3s_cluster": {"address": address.partition("/")[0]}}
        mark = own.origins.mark("bridge.ipv4.address")
        return Document(data, Origins({"": mark, "k3s_cluster": mark, "k3s_cluster.address": mark}))

    def _role(self, node: str, choice: Document) -> Document:
        roles = self.names("roles")
        if choice.data.get("role") is None:
            hint = f"say --role {' or --role '.join(roles)}, or role: in profiles/nodes/{node}.yaml"
            raise ConfigurationError(f"{node} has no role", hint=hint)
        layer = self._layer("roles", self._choose("roles", choice, "role"), ROLE_KEYS)
        if "guest" not in layer.data:
            guests = ", ".join(f"guest: {name}" for name in ("none", _DEFAULT, *self.names("guests")))
            refuse([Problem(layer.origins.mark(""), "guest: is missing", f"a role says what it runs: {guests}")])
        return layer

    def _preset(self, name: str | None, role: Document) -> Document:
        """The layer of a preset. Raises ConfigurationError when it has a machine and the role has none."""
        if name is None:
            return derived({}, "")
        asked = derived({"preset": name}, "--preset")
        layer = self._layer("presets", self._choose("presets", asked, "preset"), ROLE_KEYS)
        if "machine" in layer.data and role.data.get("machine") is None:
            text = f"machine: the preset {name} is for a guest's machine, and {role.origins.mark('').file} has none"
            refuse([Problem(layer.origins.mark("machine"), text)])
        return layer

    def _guest(self, settings: NodeSettings, document: Document) -> Guest | None:
        if settings.guest == "none":
            return None
        return self.guest(self._choose("guests", document, "guest"))

    def _choose(self, kind: str, document: Document, key: str) -> str:
        name, known = document.data[key], self.names(kind)
        if name not in known:
            refuse([Problem(document.origins.mark(key), f"there is no {key} {name}", nearest(str(name), known))])
        return str(name)

    def _layer(self, kind: str, name: str, known: Collection[str]) -> Document:
        document = self._read(f"profiles/{kind}/{name}.yaml")
        refuse_unknown(document, known)
        return document

    def _check_node_name(self, node: str) -> None:
        where = f"profiles/nodes/{node}.yaml" if node in self.names("nodes") else ""
        if not re.fullmatch(LABEL, node) or len(node) > _NAME_LENGTH:
            hint = f"use up to {_NAME_LENGTH} of a-z, 0-9 and inner hyphens, such as node-003"
            raise ConfigurationError(f"{node!r} cannot be a node's name", where=where, hint=hint)
        if node in self._reserved_names:
            raise ConfigurationError(f"{node} is a command and cannot be a node's name", where=where)

    def _read(self, file: str) -> Document:
        if file not in self._documents:
            self._documents[file] = parse(self._door.text(file, limits.PROFILE), file)
        return self._documents[file]


def _check_role(node: str, asked: str | None, own: Document) -> None:
    said = own.data.get("role")
    if asked is not None and said not in (None, asked):
        hint = f"build {node} without --role, or change its file"
        refuse([Problem(own.origins.mark("role"), f"role: {node} is a {said}, and --role says {asked}", hint)])


def _default_guest(merged: Document, defaults: Document) -> Document:
    """The base's default guest, for `guest: default`. Raises ConfigurationError when the base has none."""
    if "guest" not in defaults.data:
        base = merged.data["base"]
        hint = f"name a guest here, or add `defaults: {{guest: NAME}}` to profiles/bases/{base}.yaml"
        refuse([Problem(merged.origins.mark("guest"), f"guest: {base} has no default one", hint)])
    return defaults.only("guest")


def _guest_hostname(node: str) -> str:
    """The default host name of the guest: k3s-003 for node-003. Another node name is kept whole, so that no two guests
    have the same name."""
    number = node.removeprefix("node-")
    return f"{node}-k3s" if number == node else f"k3s-{number}"


def _prefixed(prefix: str, origins: Origins) -> dict[str, Mark]:
    """Marks of the base's facts, as `base.KEY`. The mark of `base` itself stays at the key that names the base."""
    return {f"{prefix}.{path}": mark for path, mark in origins.marks.items() if path}
