"""What profiles/ say of the k3s cluster: what its nodes share, and what one node is in it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

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
    """A reserved prefix is the API server's to give: an agent that asks for one does not start (k3s's documentation,
    "advanced")."""
    if isinstance(value, str) and _RESERVED.search(value):
        raise ValueError("has a prefix with which an agent does not start; use your own, such as pimu.io/")
    if isinstance(value, str) and not re.fullmatch(_KEY, value):
        raise ValueError("is no label's key such as pimu.io/emulated")
    return value


def _check_reason(value: object) -> object:
    """It becomes a comment."""
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
    """`server` is where agents join; `address` is that of its name, for those who have no DNS to ask. `token` admits
    servers and `agent_token` agents. `releases` holds VERSION/k3s and its list of checksums; `sha256`, by architecture,
    is asked for in place of that list. `ca` is the file of `pimu-build k3s-ca`: agents then know their server by it.

    With `airgap` the build fetches k3s, and its archive of container images if `images` says which; the nodes need no
    network for it.
    """

    version: Version
    server: Server
    address: Ipv4 | None = None
    token: SecretReference
    agent_token: SecretReference
    ca: SecretReference | None = None
    releases: Url
    sha256: dict[Architecture, Sha256] = Field(default_factory=dict)

    airgap: bool = False
    images: Literal["tar.zst", "tar.gz", "tar"] | None = None

    @model_validator(mode="after")
    def _images_are_baked(self) -> K3sCluster:
        if self.images is not None and not self.airgap:
            raise ValueError("images are baked with airgap: true, and fetched by the nodes without")
        return self

    def assets(self, architecture: Architecture) -> tuple[str, ...]:
        """What a node without a network needs of a release: the program, and the archive of images if one is named."""
        program = "k3s" if architecture == "amd64" else f"k3s-{architecture}"
        return (program, f"k3s-airgap-images-{architecture}.{self.images}") if self.images else (program,)

    def list_of(self, architecture: Architecture) -> str:
        """The release's asset with the checksums of the others."""
        return f"sha256sum-{architecture}.txt"

    def url_of(self, asset: str) -> str:
        """+ is a blank to some servers."""
        return f"{self.releases}/{self.version.replace('+', '%2B')}/{asset}"

    @property
    def server_name(self) -> str:
        return self.server.removeprefix("https://").rpartition(":")[0]


class _Member(Strict):
    """Labels and taints count when a node joins for the first time."""

    labels: dict[Label, LabelValue]
    taints: tuple[Taint, ...] = Field(strict=False)

    @property
    def label_words(self) -> list[str]:
        """As k3s wants them: KEY=VALUE, sorted."""
        return sorted(f"{key}={value}" for key, value in self.labels.items())


class K3sAgent(_Member):
    """`agent`: the guest is the node."""

    runs: Literal["agent"]


class K3sServer(_Member):
    """`server`: the Pi itself is the node, and a control plane. `tls_san` are further names by which it is called.

    With `etcd`, servers other than the one that the cluster names join that one. `disable` holds the packaged
    components that stay away, each with the reason; `false` brings back one that the role has switched off.
    """

    runs: Literal["server"]
    datastore: Literal["sqlite", "etcd"]
    tls_san: tuple[Domain, ...] = Field(strict=False)
    disable: dict[Component, Reason]

    @property
    def disabled(self) -> dict[str, str]:
        return {name: reason for name, reason in sorted(self.disable.items()) if reason is not False}


K3sNode = Annotated[K3sAgent | K3sServer, Field(discriminator="runs")]
