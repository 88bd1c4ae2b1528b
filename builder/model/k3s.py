"""The k3s settings in profiles/: those of the cluster, and those of one node."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from builder.model.k3s_token import User
from builder.model.patches import SecretRef
from builder.model.strict import Strict
from builder.model.values import Domain, Ipv4, SecretReference, Sha256, Url, of_form

_RESERVED = re.compile(r"(^|\.)(kubernetes|k8s)\.io/")
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?{_NAME}"
_TAINT = rf"{_KEY}(=({_NAME})?)?:(NoSchedule|PreferNoSchedule|NoExecute)"


def _check_server(value: object) -> object:
    if isinstance(value, str) and not value.startswith("https://"):
        raise ValueError("is not an https:// address such as https://node-001.lan:6443; k3s joins by no other")
    if isinstance(value, str) and not re.fullmatch(r"https://[a-z0-9.-]+:\d{1,5}", value):
        raise ValueError("is not of the form https://NAME:PORT")
    return value


def _check_label(value: object) -> object:
    """Raises ValueError for a reserved prefix: an agent that asks for one does not start (k3s's documentation,
    "advanced"); also for a text that is no label's key."""
    if isinstance(value, str) and _RESERVED.search(value):
        raise ValueError("has a prefix with which an agent does not start; use your own, such as pimu.io/")
    if isinstance(value, str) and not re.fullmatch(_KEY, value):
        raise ValueError("is no label's key such as pimu.io/emulated")
    return value


def _check_reason(value: object) -> object:
    """Raises ValueError unless the reason is one line of text: it becomes a comment."""
    if isinstance(value, str) and not (value.strip() and value.isprintable()):
        raise ValueError("is not a reason in one line")
    if value is True:
        raise ValueError("wants the reason why, in a line of text")
    return value


Architecture = Literal["amd64", "arm64"]
Version = Annotated[str, of_form(r"v\d+\.\d+\.\d+(-rc\d+)?\+k3s\d+", "is not a release of k3s such as v1.36.5+k3s1")]
Server = Annotated[str, BeforeValidator(_check_server)]
Label = Annotated[str, BeforeValidator(_check_label)]
LabelValue = Annotated[str, Field(pattern=rf"^({_NAME})?$")]
Taint = Annotated[str, of_form(_TAINT, "is no taint such as pimu.io/emulated=true:NoSchedule")]
Component = Literal["coredns", "local-storage", "metrics-server", "runtimes", "servicelb", "traefik"]
Reason = Annotated[str | Literal[False], BeforeValidator(_check_reason)]


class K3sCluster(Strict):
    """The k3s settings that all nodes share."""

    version: Version = Field(description="Release of k3s.", examples=["v1.36.5+k3s1"])
    server: Server = Field(description="Address of the server that nodes join.", examples=["https://node-001.lan:6443"])
    address: Ipv4 | None = Field(
        default=None,
        description="IPv4 address of the server, for nodes whose DNS does not know its name. A fixed address in the "
        "file of the server's node is used if this key is absent.",
        examples=["192.168.1.11"],
    )
    token: SecretReference = Field(
        description="Reference to the token that admits servers.", examples=["file:profiles/access/k3s-token"]
    )
    agent_token: SecretReference = Field(
        description="Reference to the token that admits agents.", examples=["file:profiles/access/k3s-agent-token"]
    )
    ca: SecretReference | None = Field(
        default=None,
        description="Reference to the file that `pimu-build k3s-ca` writes. With it agents join no other server than "
        "yours.",
        examples=["file:profiles/access/k3s-ca"],
    )
    node_passwords: SecretReference | None = Field(
        default=None,
        description="Reference to the secret from which each node's own password is derived. Without it the passwords "
        "are derived from the tokens.",
        examples=["file:profiles/access/node-passwords"],
    )
    releases: Url = Field(
        description="Folder of the releases. It holds VERSION/k3s and its list of checksums.",
        examples=["https://github.com/k3s-io/k3s/releases/download"],
    )
    sha256: dict[Architecture, Sha256] = Field(
        default_factory=dict,
        description="Digest of the program by architecture. It replaces the release's list of checksums.",
        examples=[{"amd64": "cdf4f3bfac35ae947b46e4e767f935453810549779ac3290e05a6754aee627e5"}],
    )
    airgap: bool = Field(
        default=False,
        description="Whether the build fetches k3s and bakes it in. The nodes then need no internet for it.",
        examples=[True],
    )
    images: Literal["tar.zst", "tar.gz", "tar"] | None = Field(
        default=None,
        description="Form of the release's archive of container images to bake in. It needs airgap: true.",
        examples=["tar.zst"],
    )

    @model_validator(mode="after")
    def _images_are_baked(self) -> K3sCluster:
        if self.images is not None and not self.airgap:
            raise ValueError("images are baked with airgap: true, and fetched by the nodes without")
        return self

    @model_validator(mode="after")
    def _secrets_are_several(self) -> K3sCluster:
        """Two secrets with one reference are refused. `prompt` too: it is asked once, and both would get the answer."""
        if self.agent_token == self.token:
            raise ValueError("token and agent_token are the same, and each worker would hold the servers' token")
        if self.node_passwords in (self.token, self.agent_token):
            raise ValueError("node_passwords is a token too, and whoever holds that would know each node's password")
        return self

    def join_token(self, user: User) -> SecretRef:
        """The token with which a node joins as an agent (`node`) or as a further server. With `ca` the token names the
        cluster's root, and the node joins no other cluster."""
        reference = self.agent_token if user == "node" else self.token
        return SecretRef(reference, "k3s-token", ca=self.ca or "", user=user)

    def admitting(self, user: User) -> SecretRef:
        """The password with which a server compares a joining node's token. k3s's documentation (token) allows a plain
        password here, and no bootstrap token: these are objects of the running cluster."""
        reference = self.agent_token if user == "node" else self.token
        return SecretRef(reference, "k3s-token", "password", self.ca or "", user)

    def node_password(self, name: str, user: User) -> SecretRef:
        """The password by which k3s recognises a node that joins again (k3s: pkg/nodepassword). The agents' token is on
        the disk of every worker: if the passwords follow from it, one stolen disk is enough to pose as any worker."""
        purpose = f"node-password/{name}"
        if self.node_passwords is not None:
            return SecretRef(self.node_passwords, "node-passwords", purpose)
        return SecretRef(self.agent_token if user == "node" else self.token, "k3s-token", purpose, user=user)

    def assets(self, architecture: Architecture) -> tuple[str, ...]:
        """Names of the release's files that a node needs without internet: the program, and the archive of container
        images if `images` is set."""
        program = "k3s" if architecture == "amd64" else f"k3s-{architecture}"
        return (program, self.image_archives[architecture]) if self.images else (program,)

    @property
    def image_archives(self) -> dict[Architecture, str]:
        """Name of the release's archive of container images, by architecture; empty if `images` is not set."""
        if self.images is None:
            return {}
        return {name: f"k3s-airgap-images-{name}.{self.images}" for name in get_args(Architecture)}

    def list_of(self, architecture: Architecture) -> str:
        """Name of the release's file with the checksums of the others."""
        return f"sha256sum-{architecture}.txt"

    def url_of(self, asset: str) -> str:
        """The URL of a file of the release. Some servers read + as a blank, so it is escaped."""
        return f"{self.releases}/{self.version.replace('+', '%2B')}/{asset}"

    @property
    def server_name(self) -> str:
        return self.server.removeprefix("https://").rpartition(":")[0]


class _Member(Strict):
    labels: dict[Label, LabelValue] = Field(
        description="Labels of the node. k3s sets them when the node joins for the first time.",
        examples=[{"pimu.io/emulated": "true"}],
    )
    taints: tuple[Taint, ...] = Field(
        strict=False,
        description="Taints of the node. k3s sets them when the node joins for the first time.",
        examples=[["pimu.io/emulated=true:NoSchedule"]],
    )

    @property
    def label_words(self) -> list[str]:
        """The labels in k3s's form KEY=VALUE, sorted."""
        return sorted(f"{key}={value}" for key, value in self.labels.items())


class K3sAgent(_Member):
    """The guest is the node."""

    runs: Literal["agent"] = Field(description="The guest joins the cluster as an agent.", examples=["agent"])


class K3sServer(_Member):
    """The Pi itself is the node, and a control plane."""

    runs: Literal["server"] = Field(
        description="The Pi itself is a server of the cluster: a control plane.", examples=["server"]
    )
    datastore: Literal["sqlite", "etcd"] = Field(
        description="Database of the control plane. With etcd, further servers join the server of cluster.yaml.",
        examples=["sqlite"],
    )
    tls_san: tuple[Domain, ...] = Field(
        strict=False,
        description="Further names of the server, for its certificate.",
        examples=[["k3s.example.org"]],
    )
    disable: dict[Component, Reason] = Field(
        description="Packaged components of k3s to leave out, each with the reason. false brings one back.",
        examples=[{"traefik": "an ingress would run on an emulated worker", "servicelb": False}],
    )

    @property
    def disabled(self) -> dict[str, str]:
        return {name: reason for name, reason in sorted(self.disable.items()) if reason is not False}


K3sNode = Annotated[K3sAgent | K3sServer, Field(discriminator="runs")]
