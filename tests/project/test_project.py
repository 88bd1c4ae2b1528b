"""The project folder: what is shipped, how the layers of profiles meet, overlays as values, and identities."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.features.keys import keys_of
from builder.features.overclock.settings import OverclockKeys
from builder.features.packages.settings import PackagesKeys
from builder.features.swap.settings import SwapKeys
from builder.features.trim.settings import TrimKeys
from builder.limits import GIB, MIB
from builder.model.identity import derived_disk_id
from builder.model.overlays import OverlayFile
from builder.project import Project
from tests.conftest import PUBLIC_KEY, SHIPPED
from tests.planned import plan_of

STATIC = "{address: 192.168.1.11/24, gateway: 192.168.1.1, dns: [192.168.1.1]}"
BASES = ("debian-trixie", "raspios-bookworm", "raspios-bullseye", "raspios-trixie")
BLOG_PACKAGES = {
    *("qemu-system-x86", "qemu-utils", "nmon", "virtinst", "tmux", "vim"),
    *("dnsmasq-utils", "dnsmasq-base", "iptables", "libvirt-daemon-system"),
}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(folder: Path, what: str = "overlays") -> str:
    with pytest.raises(ConfigurationError) as caught:
        getattr(Project(folder), what)
    return str(caught.value)


# What is shipped ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["worker", "server"])
@pytest.mark.parametrize("base", BASES)
def test_every_shipped_base_and_role_fit_together(bare_folder: Path, base: str, role: str) -> None:
    project = Project(bare_folder)
    assert project.names("bases") == BASES
    node = project.settings("node-003", role, base)
    assert (node.guest is None) == (role == "server")
    assert node.base.boot.start + node.base.boot.size == node.base.root.start


def test_the_worker_is_what_the_readme_promises(bare_folder: Path) -> None:
    node = Project(bare_folder).settings("node-003", "worker")
    settings = node.settings
    assert settings.base == "raspios-trixie"
    packages, trim = keys_of(settings, PackagesKeys).packages, keys_of(settings, TrimKeys).trim
    overclock, swap = keys_of(settings, OverclockKeys).overclock, keys_of(settings, SwapKeys).swap
    assert {name for name, wanted in packages.items() if wanted} >= BLOG_PACKAGES
    assert overclock is not None
    assert swap is not None
    assert settings.machine is not None
    assert node.guest is not None
    assert (overclock.arm_freq, overclock.over_voltage) == (2000, 6)
    assert (swap.size, swap.reserve) == (64 * GIB, "33%")
    assert (trim.calendar, settings.bridge.port, settings.bridge.ipv4) == ("*:0/2", "eth0", "dhcp")
    assert (settings.machine.memory, settings.machine.tb_size, node.guest.disk) == ("auto", 256 * MIB, 128 * GIB)
    assert settings.user.ssh_keys == (PUBLIC_KEY,)


def test_the_shipped_example_node_needs_no_role_on_the_command_line(bare_folder: Path) -> None:
    assert Project(bare_folder).settings("node-001").settings.role == "server"


@pytest.mark.parametrize(
    ("base", "start", "size", "root", "mount", "network", "swap", "growth", "user", "qemu", "machine_id"),
    [
        ("debian-trixie", 8, 512, 520, "/boot/firmware", "networkmanager", "none", "none", "none", "10.0", "empty"),
        (
            "raspios-trixie",
            *(8, 512, 520, "/boot/firmware", "networkmanager"),
            *("rpi-swap", "resize-word", "pi", "10.0", "uninitialized"),
        ),
        (
            "raspios-bookworm",
            *(8, 512, 520, "/boot/firmware", "networkmanager"),
            *("dphys-swapfile", "firstboot-init", "pi", "7.2", "empty"),
        ),
        (
            "raspios-bullseye",
            *(4, 256, 260, "/boot", "dhcpcd"),
            *("dphys-swapfile", "firstboot-init", "pi", "5.2", "empty"),
        ),
    ],
)
def test_facts_of_the_bases(
    bare_folder: Path,
    base: str,
    start: int,
    size: int,
    root: int,
    mount: str,
    network: str,
    swap: str,
    growth: str,
    user: str,
    qemu: str,
    machine_id: str,
) -> None:
    facts = Project(bare_folder).settings("node-003", "worker", base).base
    assert (facts.boot.start, facts.boot.size, facts.root.start) == (start * MIB, size * MIB, root * MIB)
    assert (facts.boot.mount, facts.network, facts.swap_manager, facts.growth) == (mount, network, swap, growth)
    assert (facts.first_user, facts.qemu, facts.machine_id) == (user, qemu, machine_id)


# Layers ---------------------------------------------------------------------------------------------------------------


def test_node_wins_over_role_wins_over_the_base_s_defaults(bare_folder: Path) -> None:
    base = bare_folder / "profiles/bases/debian-trixie.yaml"
    defaults = "defaults:\n  packages: {less: true, vim: false}\n  swap: {size: 1GiB, reserve: 1GiB}\n  guest: debian\n"
    base.write_text(defaults + base.read_text().partition("\ndefaults:\n")[0])
    write(bare_folder, "profiles/nodes/node-003.yaml", "packages: {tmux: false}\nswap: {size: 2GiB}\n")

    node = Project(bare_folder).settings("node-003", "worker", "debian-trixie")

    packages, swap = keys_of(node.settings, PackagesKeys).packages, keys_of(node.settings, SwapKeys).swap
    assert (packages["less"], packages["vim"], packages["tmux"], packages["nmon"]) == (True, True, False, True)
    assert swap is not None
    assert (swap.size, swap.reserve) == (2 * GIB, "33%")
    assert node.origins.of("packages.less") == "profiles/bases/debian-trixie.yaml:2"
    assert node.origins.of("packages.tmux") == "profiles/nodes/node-003.yaml:1"
    assert node.origins.of("swap.size") == "profiles/nodes/node-003.yaml:2"
    assert node.origins.of("swap.reserve").startswith("profiles/roles/worker.yaml:")
    assert node.origins.of("base.qemu").startswith("profiles/bases/debian-trixie.yaml:")
    assert node.origins.of("user.ssh_keys.0") == "profiles/cluster.yaml:14"
    assert node.origins.of("hostname") == "the node's name"
    assert node.origins.of("role") == "the command line"


@pytest.mark.parametrize(
    ("in_cluster", "in_node", "asked", "role"),
    [
        ("worker", None, None, "worker"),
        ("worker", "server", None, "server"),
        ("worker", "server", "server", "server"),
        ("worker", None, "server", "server"),
        (None, None, "server", "server"),
    ],
)
def test_who_says_the_role(
    bare_folder: Path, in_cluster: str | None, in_node: str | None, asked: str | None, role: str
) -> None:
    if in_cluster:
        with (bare_folder / "profiles/cluster.yaml").open("a") as cluster:
            cluster.write(f"role: {in_cluster}\n")
    if in_node:
        write(bare_folder, "profiles/nodes/node-003.yaml", f"role: {in_node}\n")
    assert Project(bare_folder).settings("node-003", asked).settings.role == role


@pytest.mark.parametrize(("node", "guest"), [("node-003", "k3s-003"), ("attic", "attic-k3s"), ("003", "003-k3s")])
def test_a_node_without_a_file_is_derived_from_its_name(bare_folder: Path, node: str, guest: str) -> None:
    settings = Project(bare_folder).settings(node, "worker").settings
    assert (settings.name, settings.hostname, settings.guest_hostname) == (node, node, guest)


@pytest.mark.parametrize("name", ["Node", "-a", "a-", "a.b", "a/b", "..", "a\n", "", "é", "a" * 64])
def test_names_that_are_no_host_names_are_refused(bare_folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a node's name"):
        Project(bare_folder).settings(name, "worker")


def test_bytes_that_are_no_text(bare_folder: Path) -> None:
    write(bare_folder, "profiles/nodes/node-003.yaml", b"hostname: \xff\n")
    with pytest.raises(ConfigurationError, match=r"^profiles/nodes/node-003.yaml: is not UTF-8 text$"):
        Project(bare_folder).settings("node-003", "worker")


# Keys -----------------------------------------------------------------------------------------------------------------

ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMj"
    "NuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="
)


def public_keys_in(folder: Path, *entries: str) -> tuple[str, ...]:
    cluster = folder / "profiles/cluster.yaml"
    before, mark, _ = cluster.read_text().partition("  ssh_keys:")
    cluster.write_text(before + mark + "\n" + "".join(f"    - '{entry}'\n" for entry in entries))
    return Project(folder).settings("node-003", "worker").settings.user.ssh_keys


def test_keys_are_literal_or_files_of_one_or_more(bare_folder: Path) -> None:
    write(bare_folder, "team.pub", f"# the team\n\n{PUBLIC_KEY}\n{ECDSA} laptop\n")
    assert public_keys_in(bare_folder, ECDSA, "file:team.pub") == (ECDSA, PUBLIC_KEY, f"{ECDSA} laptop")


@pytest.mark.parametrize(
    "entry",
    [
        "hello",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        PUBLIC_KEY.replace("ssh-ed25519", "ssh-rsa"),
        PUBLIC_KEY.replace(" pimu@test", "")[:-8],
        PUBLIC_KEY.replace("AAAAC3", "!!!!C3"),
    ],
)
def test_what_is_no_public_key_is_refused(bare_folder: Path, entry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^profiles/cluster.yaml:\d+: .* is not an ssh public key"):
        public_keys_in(bare_folder, entry)


# Overlays -------------------------------------------------------------------------------------------------------------


def test_a_file_s_place_mode_and_owner(bare_folder: Path) -> None:
    worker = "overlays/roles/worker"
    write(bare_folder, f"{worker}/root/usr/bin/tool", b"\x7fELF\xff").chmod(0o600)
    write(bare_folder, f"{worker}/root/etc/app.conf.j2", "name={{ node.name }}\n").chmod(0o777)
    write(bare_folder, f"{worker}/boot/notes.txt", "")
    (bare_folder / worker / "root/etc/link").symlink_to("/run/app")
    (bare_folder / worker / "root/etc/folder").symlink_to("../usr/bin")
    write(
        bare_folder,
        "overlays/manifest.yaml",
        "/usr/bin/*: {mode: 0755}\n/etc/*.conf: {mode: '0640', owner: '0:900'}\n",
    )

    overlays = Project(bare_folder).overlays

    assert overlays == {
        "roles/worker": (
            OverlayFile(volume="boot", path="/notes.txt", origin=f"{worker}/boot/notes.txt"),
            OverlayFile(
                volume="root",
                path="/etc/app.conf",
                origin=f"{worker}/root/etc/app.conf.j2",
                content=b"name={{ node.name }}\n",
                is_template=True,
                mode=0o640,
                gid=900,
            ),
            OverlayFile(
                volume="root", path="/etc/folder", origin=f"{worker}/root/etc/folder", symlink_target="../usr/bin"
            ),
            OverlayFile(volume="root", path="/etc/link", origin=f"{worker}/root/etc/link", symlink_target="/run/app"),
            OverlayFile(
                volume="root",
                path="/usr/bin/tool",
                origin=f"{worker}/root/usr/bin/tool",
                content=b"\x7fELF\xff",
                mode=0o755,
            ),
        )
    }


def test_a_later_rule_wins_and_a_star_stays_in_its_folder(bare_folder: Path) -> None:
    write(bare_folder, "overlays/features/x/root/etc/a", "")
    write(bare_folder, "overlays/features/x/root/etc/b", "")
    write(bare_folder, "overlays/features/x/root/etc/deep/c", "")
    write(bare_folder, "overlays/manifest.yaml", "/etc/*: {mode: '0600'}\n/etc/b: {mode: '0400'}\n")
    modes = {file.path: file.mode for file in Project(bare_folder).overlays["features/x"]}
    assert modes == {"/etc/a": 0o600, "/etc/b": 0o400, "/etc/deep/c": 0o644}


@pytest.mark.parametrize(
    ("path", "target", "refused"),
    [
        ("etc/x", "../usr", False),
        ("etc/x", "../../usr", True),
        ("etc/x", "a/../../usr", False),
        ("etc/x", "a/../../../usr", True),
        ("etc/x", "/etc/passwd", False),
        ("etc/x", "/../etc/passwd", True),
        ("x", "..", True),
        ("x", ".", False),
    ],
)
def test_a_symlink_stays_on_its_volume(bare_folder: Path, path: str, target: str, refused: bool) -> None:
    link = bare_folder / "overlays/features/x/root" / path
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    if refused:
        said = f"overlays/features/x/root/{path}: points out of its volume, to {target}"
        assert refusal(bare_folder) == said
    else:
        assert Project(bare_folder).overlays["features/x"][0].symlink_target == target


def test_links_in_the_place_of_folders_are_not_followed(bare_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, "root/etc/shadow", "secret")
    (bare_folder / "overlays/features").mkdir()
    (bare_folder / "overlays/features/x").symlink_to(outside)
    assert refusal(bare_folder) == "overlays/features/x: is not a folder"


def test_special_files_are_refused(bare_folder: Path) -> None:
    write(bare_folder, "overlays/features/x/root/etc/a", "")
    os.mkfifo(bare_folder / "overlays/features/x/root/etc/pipe")
    assert refusal(bare_folder) == "overlays/features/x/root/etc/pipe: is neither a file nor a symlink"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("features/x/root/etc/a\nb", "", "has a name with an unprintable character"),
        ("features/x/root/etc/a.j2", b"\xff", "is a template, but not UTF-8 text"),
        ("features/x/root", "", "is not a folder"),
        ("worker/root/etc/motd", "", "would not be read"),
        ("features/x/etc/motd", "", "is not a volume\n  known: boot, root"),
    ],
)
def test_what_cannot_be_an_overlay(bare_folder: Path, name: str, content: str | bytes, error: str) -> None:
    write(bare_folder, f"overlays/{name}", content)
    assert error in refusal(bare_folder)


def test_a_template_and_a_file_of_one_name(bare_folder: Path) -> None:
    write(bare_folder, "overlays/features/x/root/a", "")
    write(bare_folder, "overlays/features/x/root/a.j2", "")
    said = "overlays/features/x/root/a.j2: makes the same file as overlays/features/x/root/a"
    assert refusal(bare_folder) == said


def test_fat_holds_no_symlink(bare_folder: Path) -> None:
    write(bare_folder, "overlays/features/x/boot/a", "")
    (bare_folder / "overlays/features/x/boot/b").symlink_to("a")
    assert refusal(bare_folder) == "overlays/features/x/boot/b: is a symlink, which FAT cannot hold"


def test_the_seed_is_all_of_cloud_init_but_the_installer_s_answers(project_folder: Path) -> None:
    project = Project(project_folder)
    assert [file.path for file in project.seed] == ["/k3s-join.sh", "/meta-data", "/network-config", "/user-data"]
    assert project.answers is not None
    assert project.answers.origin == "cloud-init/answers.j2"
    (project_folder / "cloud-init/answers.j2").unlink()
    assert Project(project_folder).answers is None


def test_the_seed_is_flat(project_folder: Path) -> None:
    (project_folder / "cloud-init/folder").mkdir()
    assert refusal(project_folder, "seed") == "cloud-init/folder: is neither a file nor a symlink"
    (project_folder / "cloud-init/folder").rmdir()
    (project_folder / "cloud-init/alias").symlink_to("meta-data.j2")
    assert refusal(project_folder, "seed") == "cloud-init/alias: is a symlink, which FAT cannot hold"


def test_the_shipped_checkout_s_modes_do_not_count(project_folder: Path) -> None:
    shipped = Project(project_folder).overlays
    for path in (project_folder / "overlays").rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)
    assert Project(project_folder).overlays == shipped


# Identities -----------------------------------------------------------------------------------------------------------


def test_identity_is_a_function_of_cluster_and_node(bare_folder: Path) -> None:
    project = Project(bare_folder)
    node = project.settings("node-003", "worker")
    identity = project.identities([node])["node-003"]
    assert (identity.bridge_mac, identity.guest_mac) == ("52:54:00:0c:76:65", "52:54:00:08:f0:66")
    assert identity.partuuid == f"{derived_disk_id('pimu', 'node-003'):08x}" == "d48a9ccc"
    assert identity.instance_id == "4436cce5-3810-5cdc-b0cb-e3cf564db08a"


def test_another_cluster_is_other_machines(bare_folder: Path) -> None:
    before = Project(bare_folder)
    cluster = bare_folder / "profiles/cluster.yaml"
    one = before.identities([before.settings("node-003", "worker")])["node-003"]
    cluster.write_text(cluster.read_text().replace("name: pimu\ndomain", "name: attic\ndomain"))
    after = Project(bare_folder)
    other = after.identities([after.settings("node-003", "worker")])["node-003"]
    assert not {one.disk_id, one.bridge_mac, one.guest_mac, one.instance_id} & {
        other.disk_id,
        other.bridge_mac,
        other.guest_mac,
        other.instance_id,
    }


def test_given_addresses_are_taken(bare_folder: Path) -> None:
    text = "bridge: {mac: inherit}\nmachine: {mac: '52:54:00:AA:BB:CC'}\n"
    write(bare_folder, "profiles/nodes/node-003.yaml", text)
    project = Project(bare_folder)
    identity = project.identities([project.settings("node-003", "worker")])["node-003"]
    assert (identity.bridge_mac, identity.guest_mac) == (None, "52:54:00:aa:bb:cc")


@pytest.mark.parametrize(
    ("nodes", "error"),
    [
        # found by trying names: 24 bits of a MAC address repeat within some thousand of them, 32 of a disk id later
        (
            ("node-765", "node-2796"),
            "MAC address 52:54:00:2b:7c:3d of node-2796 is also that of node-765 (derived)\n  give one of them another",
        ),
        (
            ("node-152960", "node-176348"),
            "disk id fcf5a95a of node-176348 is also that of node-152960 (derived)\n  rename one of them",
        ),
    ],
)
def test_derived_values_that_really_collide(bare_folder: Path, nodes: tuple[str, str], error: str) -> None:
    project = Project(bare_folder)
    with pytest.raises(ConfigurationError, match=f"^{re.escape(error)}"):
        project.identities([project.settings(node, "worker") for node in nodes])


@pytest.mark.parametrize(
    ("base", "node", "guest"),
    [
        ("raspios-trixie", "", "alpine"),
        ("raspios-bookworm", "", "alpine"),
        ("raspios-bullseye", "", "alpine"),
        ("debian-trixie", "", "debian"),
        ("debian-trixie", "guest: alpine-cloud\n", "alpine-cloud"),
        ("raspios-trixie", "guest: debian\n", "debian"),
        ("raspios-trixie", "guest: default\n", "alpine"),
    ],
)
def test_the_base_names_the_guest_unless_somebody_else_does(
    bare_folder: Path, base: str, node: str, guest: str
) -> None:
    write(bare_folder, "profiles/nodes/node-003.yaml", node)
    assert Project(bare_folder).settings("node-003", "worker", base).settings.guest == guest


def test_a_node_may_go_back_to_the_bases_guest(bare_folder: Path) -> None:
    """Its role has none; what it needs besides is the node's to say."""
    worker = (bare_folder / "profiles/roles/worker.yaml").read_text()
    write(bare_folder, "profiles/roles/worker.yaml", worker.replace("guest: default", "guest: none"))
    write(bare_folder, "profiles/nodes/node-003.yaml", "guest: default\n")
    node = Project(bare_folder).settings("node-003", "worker", "raspios-trixie")
    assert (node.settings.guest, node.origins.of("guest").partition(":")[0]) == (
        "alpine",
        "profiles/bases/raspios-trixie.yaml",
    )


def test_a_node_cannot_share_a_name_with_its_own_guest(bare_folder: Path) -> None:
    write(bare_folder, "profiles/nodes/node-003.yaml", "guest_hostname: node-003\n")
    project = Project(bare_folder)
    with pytest.raises(ConfigurationError, match=r"^profiles/nodes/node-003.yaml:1: host name node-003 of node-003"):
        project.identities([project.settings("node-003", "worker")])


def test_a_guest_that_does_not_run_collides_with_nobody(bare_folder: Path) -> None:
    write(bare_folder, "profiles/nodes/node-004.yaml", "role: server\nguest_hostname: k3s-003\n")
    project = Project(bare_folder)
    assert set(project.identities([project.settings("node-003", "worker")])) == {"node-003"}


def test_other_nodes_without_a_role_are_taken_to_have_the_asked_one(bare_folder: Path) -> None:
    write(bare_folder, "profiles/nodes/node-007.yaml", "guest_hostname: k3s-003\n")
    project = Project(bare_folder)
    with pytest.raises(ConfigurationError, match="host name k3s-003 of node-007 is also that of node-003"):
        project.identities([project.settings("node-003", "worker")])


def test_the_shipped_folder_itself_is_a_project() -> None:
    assert Project(SHIPPED).names("roles") == ("server", "worker")


# The cluster ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "address"),
    [("", None), ("bridge: {ipv4: dhcp}\n", None), (f"bridge:\n  ipv4: {STATIC}\n", "192.168.1.11")],
)
def test_the_servers_address_is_that_of_its_node(bare_folder: Path, own: str, address: str | None) -> None:
    """A guest cannot ask for node-001.local, and a router may know no names at all."""
    write(bare_folder, "profiles/nodes/node-001.yaml", f"role: server\n{own}")
    node = Project(bare_folder).settings("node-003", "worker")
    assert node.settings.k3s_cluster is not None
    assert node.settings.k3s_cluster.address == address
    if address:
        assert node.origins.of("k3s_cluster.address") == "profiles/nodes/node-001.yaml:3"


def test_an_address_in_the_clusters_file_wins(bare_folder: Path) -> None:
    cluster = bare_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("  server: https", "  address: 10.0.0.1\n  server: https"))
    write(bare_folder, "profiles/nodes/node-001.yaml", f"role: server\nbridge:\n  ipv4: {STATIC}\n")
    settings = Project(bare_folder).settings("node-003", "worker").settings
    assert settings.k3s_cluster is not None
    assert settings.k3s_cluster.address == "10.0.0.1"


def test_without_a_cluster_nobody_joins(project_folder: Path) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().partition("\n# The k3s cluster")[0] + "\n")
    plan = plan_of(project_folder)
    assert {file.name for file in plan.seed} == {"meta-data", "user-data", "network-config", "seed.conf"}
