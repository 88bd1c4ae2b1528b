"""The cluster: the settings that all nodes share."""

from __future__ import annotations

from pydantic import Field

from builder.model.k3s import K3sCluster
from builder.model.strict import Strict
from builder.model.values import Domain, Hostname, Locale, SecretReference, Timezone


class User(Strict):
    name: str = Field(
        pattern=r"^[a-z_][a-z0-9_-]{0,30}$", description="Name of the account on every Pi.", examples=["pimu"]
    )
    ssh_keys: tuple[str, ...] = Field(
        strict=False,
        description="Public ssh keys that may log in: the lines themselves, or file:PATH in the project.",
        examples=[["file:profiles/access/id_ed25519.pub"]],
    )
    password: SecretReference | None = Field(
        default=None,
        description="Reference to the crypt(5) hash of a password. Without it only ssh keys log in.",
        examples=["env:PIMU_PASSWORD_HASH", "file:profiles/access/password-hash"],
    )


class Cluster(Strict):
    """The settings that all nodes share."""

    name: Hostname = Field(
        description="Name of the cluster. MAC addresses and disk ids follow from it: another name makes "
        "other machines.",
        examples=["pimu"],
    )
    domain: Domain = Field(description="Domain of the nodes and their guests.", examples=["lan", "pi.example.org"])
    timezone: Timezone = Field(description="Time zone, as /usr/share/zoneinfo names it.", examples=["Etc/UTC"])
    locale: Locale = Field(description="Language and character set of the Pi.", examples=["C.UTF-8"])
    base: str = Field(
        description="A file in profiles/bases/, for each node whose file and command line name no other.",
        examples=["raspios-trixie"],
    )
    role: str | None = Field(
        default=None,
        description="A file in profiles/roles/, for each node whose file and command line name no other.",
        examples=["worker"],
    )
    user: User = Field(
        description="The account on every Pi.",
        examples=[{"name": "pimu", "ssh_keys": ["file:profiles/access/id_ed25519.pub"]}],
    )
    k3s: K3sCluster | None = Field(
        default=None,
        description="The k3s cluster that nodes join. Without it there is none.",
        examples=[
            {
                "version": "v1.36.5+k3s1",
                "server": "https://node-001.lan:6443",
                "token": "file:profiles/access/k3s-token",
                "agent_token": "file:profiles/access/k3s-agent-token",
                "releases": "https://github.com/k3s-io/k3s/releases/download",
            }
        ],
    )
