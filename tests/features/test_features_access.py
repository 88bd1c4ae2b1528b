"""The account, ssh and names: what lets the owner in, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.model.patches import SecretRef
from builder.plan import to_json, to_lines
from tests.conftest import PUBLIC_KEY
from tests.planned import BASES, Pi, pi_of, plan_of

HASH = "$y$j9T$salt$" + "hash".ljust(43, "x")


@pytest.mark.parametrize("base", BASES)
def test_the_user_is_uid_1000_and_gets_in_by_key(base: str, shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder, base=base))

    assert _record(pi, "/etc/passwd", "pimu") == ["pimu", "x", "1000", "1000", "", "/home/pimu", "/bin/bash"]
    assert _record(pi, "/etc/shadow", "pimu")[1] == "*"
    keys = pi.entry("/home/pimu/.ssh/authorized_keys")
    assert keys is not None
    assert (keys.mode, keys.uid, keys.gid, keys.read().decode()) == (0o600, 1000, 1000, f"{PUBLIC_KEY}\n")
    for path in ("/home/pimu", "/home/pimu/.ssh"):
        folder = pi.entry(path)
        assert folder is not None
        assert (folder.mode, folder.uid, folder.gid) == (0o700, 1000, 1000)


@pytest.mark.parametrize("base", BASES)
def test_the_user_is_in_the_groups_that_exist(base: str, shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder, base=base))
    for database in ("/etc/group", "/etc/gshadow"):
        assert _record(pi, database, "sudo")[-1] == "pimu"
        assert "plugdev" not in pi.text(database)


def test_raspberry_pi_oss_pi_becomes_the_user(shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder, base="raspios-bookworm"))

    for database in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
        lines = pi.text(f"/etc/{database}").splitlines()
        assert not [line for line in lines if "pi" in line.replace(",", ":").split(":")]
    assert _record(pi, "/etc/subuid", "pimu") == ["pimu", "100000", "65536"]
    assert _record(pi, "/etc/group", "spi")[-1] == "root,pimu"
    assert pi.is_masked("userconfig.service")
    assert pi.is_enabled("getty@tty1.service")


def test_a_user_called_pi_is_the_one_that_is_there(project_folder: Path) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("  name: pimu", "  name: pi"))
    pi = pi_of(plan_of(project_folder, base="raspios-trixie"))

    assert _record(pi, "/etc/passwd", "pi") == ["pi", "x", "1000", "1000", "", "/home/pi", "/bin/bash"]
    assert _record(pi, "/etc/group", "sudo")[-1] == "pi"
    assert pi.text("/etc/passwd").count("\npi:") == 1


@pytest.mark.parametrize("name", ["root", "sudo", "netdev", "pimu-guest"])
def test_a_user_cannot_take_the_systems_names(name: str, project_folder: Path) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("  name: pimu", f"  name: {name}"))
    with pytest.raises(ConfigurationError, match=f"{name} is an account or group of the system") as caught:
        plan_of(project_folder)
    assert caught.value.where.startswith("profiles/cluster.yaml:")


def test_a_password_is_resolved_last_and_stamped(project_folder: Path) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("  name: pimu\n", "  name: pimu\n  password: env:HASH\n"))
    plan = plan_of(project_folder)
    asked: list[SecretRef] = []

    def resolve(secret: SecretRef) -> str:
        asked.append(secret)
        return HASH

    assert _record(pi_of(plan, scopes=("golden",)), "/etc/shadow", "pimu")[1] == "*"
    assert _record(pi_of(plan, secrets=resolve), "/etc/shadow", "pimu")[1] == HASH
    assert asked == [SecretRef("env:HASH")]
    assert "env:HASH" in to_json(plan)
    assert any("<env:HASH>" in line for line in to_lines(plan))


@pytest.mark.parametrize("base", BASES)
def test_ssh_takes_keys_only_and_listens_once(base: str, shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder, base=base))

    options = dict(
        line.split() for line in pi.text("/etc/ssh/sshd_config.d/10-pimu.conf").splitlines() if line[0] != "#"
    )
    assert options == {"PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no", "PermitRootLogin": "no"}
    assert pi.is_enabled("ssh.service")
    assert pi.is_masked("ssh.socket")


@pytest.mark.parametrize("base", BASES)
def test_host_keys_are_made_by_us_alone(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base)
    pi = pi_of(plan)

    removed = {edit.path for edit in plan.edits if edit.kind == "Remove"}
    assert {f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")} <= removed
    assert pi.is_enabled("pimu-hostkeys.service")
    assert pi.is_masked("sshd-keygen.service")
    assert pi.is_masked("regenerate_ssh_host_keys.service")


def test_sudo_asks_for_no_password_and_takes_the_file(shipped_folder: Path) -> None:
    entry = pi_of(plan_of(shipped_folder)).entry("/etc/sudoers.d/010_pimu-nopasswd")
    assert entry is not None
    assert (entry.mode, entry.uid, entry.gid) == (0o440, 0, 0)
    assert entry.read() == b"pimu ALL=(ALL:ALL) NOPASSWD: ALL\n"


def test_names(shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder))
    assert pi.text("/etc/hostname") == "node-003\n"
    assert "127.0.1.1  node-003.lan node-003" in pi.text("/etc/hosts").splitlines()


def test_time_zone_and_locale(project_folder: Path) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    text = cluster.read_text().replace("timezone: Etc/UTC", "timezone: Europe/Zurich")
    cluster.write_text(text.replace("locale: C.UTF-8", "locale: de_CH.UTF-8"))
    plan = plan_of(project_folder)
    pi = pi_of(plan)

    local = pi.entry("/etc/localtime")
    assert local is not None
    assert local.target == "/usr/share/zoneinfo/Europe/Zurich"
    assert pi.text("/etc/timezone") == "Europe/Zurich\n"
    assert pi.text("/etc/locale.conf") == "LANG=de_CH.UTF-8\n"
    assert [note.text for note in plan.notes] == [
        "locale de_CH.UTF-8 must come with the base or the package locales-all"
    ]


@pytest.mark.parametrize("base", BASES)
def test_cloud_init_is_off_where_the_base_has_it(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base)
    assert (pi_of(plan).entry("/etc/cloud/cloud-init.disabled") is not None) == plan.base.cloud_init


def test_libvirt_starts_only_when_it_is_called(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder)
    pi = pi_of(plan)

    for unit in ("libvirtd-tcp.socket", "libvirtd-tls.socket", "libvirt-guests.service"):
        assert pi.is_masked(unit)
    removed = {edit.path for edit in plan.edits if edit.kind == "Remove"}
    assert "/etc/systemd/system/multi-user.target.wants/libvirtd.service" in removed
    assert "/etc/libvirt/qemu/networks/autostart/default.xml" in removed
    assert not pi.is_masked("libvirtd.socket")


def _record(pi: Pi, database: str, name: str) -> list[str]:
    (line,) = (line for line in pi.text(database).splitlines() if line.startswith(f"{name}:"))
    return line.split(":")
