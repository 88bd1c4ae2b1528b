"""A control plane on the Pi itself: words for the kernel, settings, tokens."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.errors import ConfigurationError
from builder.model.edits import WriteSecret
from builder.model.patches import SecretRef
from builder.secrets.resolve import Secrets, secrets_of
from tests.planned import BASES, pi_of, placeholder, plan_of

CONFIG = "/etc/rancher/k3s/config.yaml"


def config(folder: Path, *, name: str = "", node: str = "") -> dict[str, Any]:
    plan = plan_of(folder, role="server", name=name, node=node)
    read: dict[str, Any] = yaml.safe_load(pi_of(plan, secrets=placeholder).text(CONFIG))
    return read


@pytest.mark.parametrize("base", BASES)
def test_the_kernel_counts_memory_by_group_and_the_line_stays_one(base: str, shipped_folder: Path) -> None:
    text = pi_of(plan_of(shipped_folder, role="server", base=base), secrets=placeholder).text("/cmdline.txt", "boot")
    assert text.count("\n") == 1
    assert {"cgroup_memory=1", "cgroup_enable=memory"} <= set(text.split())
    assert "cgroup_enable=memory" not in pi_of(plan_of(shipped_folder, base=base)).text("/cmdline.txt", "boot")


def test_debians_own_hook_says_the_words_again(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, role="server")
    words = pi_of(plan, secrets=placeholder).text("/etc/default/raspi-extra-cmdline").split()
    assert words == [f"root=PARTUUID={plan.identity.partuuid}-02", "cgroup_memory=1", "cgroup_enable=memory"]


def test_a_server_is_named_kept_for_itself_and_leaves_out_what_has_a_reason(shipped_folder: Path) -> None:
    assert config(shipped_folder) == {
        "node-name": "node-001",
        "node-label": [],
        "node-taint": ["node-role.kubernetes.io/control-plane:NoSchedule"],
        "tls-san": ["node-001.lan"],
        "token-file": "/etc/rancher/k3s/token",
        "agent-token-file": "/etc/rancher/k3s/agent-token",
        "disable": ["metrics-server", "servicelb", "traefik"],
    }
    pi = pi_of(plan_of(shipped_folder, role="server"), secrets=placeholder)
    items = [line for line in pi.text(CONFIG).splitlines() if line.startswith("  - ")]
    assert all(len(line.partition("  # ")[2]) > 20 for line in items)
    entry = pi.entry(CONFIG)
    assert entry is not None
    assert (entry.mode, entry.uid, entry.gid) == (0o600, 0, 0)


def test_a_certificate_is_for_every_name_by_which_the_server_is_called(project_folder: Path) -> None:
    node = (
        "role: server\n"
        "bridge: {ipv4: {address: 192.168.1.11/24, gateway: 192.168.1.1, dns: [192.168.1.1]}}\n"
        "k3s: {tls_san: [k3s.example.org]}\n"
    )
    assert config(project_folder, node=node)["tls-san"] == ["node-001.lan", "192.168.1.11", "k3s.example.org"]


def test_a_packaged_component_comes_back_when_a_node_says_so(project_folder: Path) -> None:
    node = "role: server\nk3s: {disable: {traefik: false}}\n"
    assert config(project_folder, node=node)["disable"] == ["metrics-server", "servicelb"]


def test_a_second_server_joins_the_first_with_etcd_and_is_refused_without(project_folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"the cluster's server is node-001\.lan, and with sqlite there is one"
    ):
        plan_of(project_folder, role="server", name="node-002")
    node = "role: server\nk3s: {datastore: etcd}\n"
    second = config(project_folder, name="node-002", node=node)
    first = config(project_folder, node=node)
    assert (second["server"], "cluster-init" in second) == ("https://node-001.lan:6443", False)
    assert ("server" in first, first["cluster-init"]) == (False, True)
    assert second["tls-san"] == ["node-001.lan", "node-002.lan"]


def test_the_cluster_may_name_its_server_by_address(project_folder: Path) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("https://node-001.lan:6443", "https://192.168.1.11:6443"))
    ipv4 = "{address: 192.168.1.11/24, gateway: 192.168.1.1, dns: [192.168.1.1]}"
    assert "server" not in config(project_folder, node=f"role: server\nbridge: {{ipv4: {ipv4}}}\n")


def test_a_server_holds_both_tokens_for_root_alone(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, role="server")
    pi = pi_of(plan, secrets=placeholder)
    assert pi.text("/etc/rancher/k3s/token") == "what file:profiles/access/k3s-token for password holds\n"
    assert pi.text("/etc/rancher/k3s/agent-token") == "what file:profiles/access/k3s-agent-token for password holds\n"
    for edit in plan.edits:
        if isinstance(edit, WriteSecret):
            entry = pi.entry(edit.path)
            assert entry is not None
            is_public = edit.path.endswith(".crt")
            assert (entry.mode, entry.uid, entry.gid) == (0o644 if is_public else 0o600, 0, 0)
    assert {reference.reference for reference in secrets_of(plan)} == {
        "file:profiles/access/k3s-token",
        "file:profiles/access/k3s-agent-token",
        "file:profiles/access/k3s-ca",
        "file:profiles/access/node-passwords",
    }


def test_no_secret_can_be_asked_for_a_golden_image() -> None:
    with pytest.raises(ValueError, match="a golden image may hold no secret"):
        WriteSecret(volume="root", path="/token", scope="golden", feature="", origin="", secret=SecretRef("env:TOKEN"))


def test_what_installs_k3s_starts_with_the_bridge_and_holds_up_no_boot(shipped_folder: Path) -> None:
    """A job of systemd's that waits for a network would keep the system "starting" for ever."""
    pi = pi_of(plan_of(shipped_folder, role="server"), secrets=placeholder)
    wants = [path for path in pi.root.entries if ".wants/" in path and "k3s" in path]
    assert wants == ["etc/systemd/system/sys-subsystem-net-devices-br0.device.wants/pimu-k3s-install.service"]
    assert pi.ini("/usr/lib/systemd/system/pimu-k3s-install.service")["Service"]["Type"] == "exec"


@pytest.mark.parametrize("package", ["curl", "iptables"])
def test_a_server_without_what_k3s_needs_is_refused(project_folder: Path, package: str) -> None:
    with pytest.raises(ConfigurationError, match=f"k3s needs the package {package}"):
        plan_of(project_folder, role="server", node=f"role: server\npackages: {{{package}: false}}\n")
    assert plan_of(project_folder, role="server", node=f"role: server\nk3s: null\npackages: {{{package}: false}}\n")


def test_a_pi_without_a_cluster_is_no_server(project_folder: Path) -> None:
    plan = plan_of(project_folder, role="server", node="role: server\nk3s: null\n")
    assert not [edit for edit in plan.edits if edit.feature == "k3s"]
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().partition("# The k3s cluster")[0])
    assert not [edit for edit in plan_of(project_folder, role="server").edits if edit.feature == "k3s"]


def before(folder: Path, *keys: str) -> Path:
    """The cluster of a project that was made when k3s had no such keys."""
    cluster = folder / "profiles/cluster.yaml"
    lines = cluster.read_text().splitlines(keepends=True)
    cluster.write_text("".join(line for line in lines if not line.strip().startswith(keys)))
    return folder


@pytest.mark.parametrize("role", ["worker", "server"])
def test_a_new_project_has_nothing_to_be_told(shipped_folder: Path, role: str) -> None:
    assert not [note for note in plan_of(shipped_folder, role=role).notes if note.feature == "k3s"]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("node_passwords:", "kubectl -n kube-system delete secret NODE.node-password.k3s"),
        ("ca:", "/var/lib/rancher/k3s/server/agent-token"),
    ],
)
@pytest.mark.parametrize("role", ["worker", "server"])
def test_a_project_of_before_is_told_what_to_change_and_what_that_does(
    project_folder: Path, role: str, key: str, told: str
) -> None:
    (note,) = (note for note in plan_of(before(project_folder, key), role=role).notes if note.feature == "k3s")
    assert note.text.startswith(f"k3s in profiles/cluster.yaml has no {key}")
    assert told in note.text


def test_a_node_password_of_before_stays(project_folder: Path) -> None:
    """A running cluster knows its nodes by them. The values are those of HMAC-SHA256, reckoned by openssl(1)."""
    access = project_folder / "profiles/access"
    (access / "k3s-agent-token").write_text("0123456789abcdef0123456789abcdef\n")
    (access / "k3s-token").write_text("fedcba9876543210fedcba9876543210\n")
    before(project_folder, "ca:", "node_passwords:")
    secrets = Secrets(project_folder)
    held = {file.name: secrets(file.secret) for file in plan_of(project_folder).seed if file.secret is not None}
    assert held["k3s-node-password"] == by_openssl("0123456789abcdef0123456789abcdef", "node-password/k3s-003")
    pi = pi_of(plan_of(project_folder, role="server"), secrets=secrets)
    expected = by_openssl("fedcba9876543210fedcba9876543210", "node-password/node-001")
    assert pi.text("/etc/rancher/node/password") == f"{expected}\n"


def by_openssl(key: str, text: str) -> str:
    argv = ["openssl", "dgst", "-sha256", "-hmac", key]
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout.split()[-1][:32]


def test_no_worker_s_disk_tells_another_node_s_password(project_folder: Path) -> None:
    secrets = Secrets(project_folder)
    one, other = (
        {file.name: secrets(file.secret) for file in plan_of(project_folder, name=name).seed if file.secret is not None}
        for name in ("node-003", "node-007")
    )
    server = pi_of(plan_of(project_folder, role="server"), secrets=secrets).text("/etc/rancher/node/password").strip()
    assert one["k3s-token"] == other["k3s-token"]
    assert len({one["k3s-node-password"], other["k3s-node-password"], server}) == 3
    keys = [*one.values(), *(value.rpartition(":")[2] for value in one.values())]
    reckoned = {by_openssl(key, f"node-password/{name}") for key in keys for name in ("k3s-007", "node-001")}
    assert not reckoned & {other["k3s-node-password"], server}
    (project_folder / "profiles/access/k3s-agent-token").write_text("another-token-of-the-agents\n")
    again = Secrets(project_folder)
    kept = [again(file.secret) for file in plan_of(project_folder).seed if file.secret and "password" in file.name]
    assert kept == [one["k3s-node-password"]]
