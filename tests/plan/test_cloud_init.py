"""The seed, judged by cloud-init itself: its schema, and its own readers and writers of network configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from builder.model.plan import Plan
from tests.planned import plan_of

GUESTS = ("debian", "alpine")
NASTY = 'it\'s "one" # of: {many} \\ é'


def schema(user_data: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "user-data"
    file.write_bytes(user_data)
    command = ["cloud-init", "schema", "--config-file", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def seed(folder: Path, guest: str) -> tuple[Plan, dict[str, bytes]]:
    key = folder / "profiles/access/id_ed25519.pub"
    key.write_text(f"{key.read_text().strip()} {NASTY}\n")
    plan = plan_of(folder, node=f"guest: {guest}\n")
    return plan, {file.name: file.content for file in plan.seed}


@pytest.mark.parametrize("guest", GUESTS)
def test_user_data_is_valid_cloud_config(guest: str, project_folder: Path, tmp_path: Path) -> None:
    _, files = seed(project_folder, guest)
    judged = schema(files["user-data"], tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "deprecated" not in (judged.stdout + judged.stderr).lower()
    (user,) = yaml.safe_load(files["user-data"])["users"]
    assert user["ssh_authorized_keys"][0].endswith(NASTY)


def test_the_schema_finds_what_is_wrong(project_folder: Path, tmp_path: Path) -> None:
    _, files = seed(project_folder, "debian")
    wrong = files["user-data"].replace(b"lock_passwd: true", b"lock_passwd: [maybe]")
    judged = schema(wrong, tmp_path)
    assert judged.returncode != 0
    assert "lock_passwd" in judged.stdout + judged.stderr


@pytest.mark.parametrize("guest", GUESTS)
def test_meta_data_names_the_machine_and_its_instance(guest: str, project_folder: Path) -> None:
    plan, files = seed(project_folder, guest)
    assert yaml.safe_load(files["meta-data"]) == {
        "instance-id": plan.identity.instance_id,
        "local-hostname": plan.settings.guest_hostname,
    }


@pytest.mark.parametrize(("kind", "distro"), [("eni", "alpine"), ("networkd", "debian")])
def test_network_config_is_one_interface_by_dhcp_to_cloud_init(
    kind: str, distro: str, project_folder: Path, tmp_path: Path
) -> None:
    plan, files = seed(project_folder, distro)
    read, made = tmp_path / "network-config", tmp_path / "made"
    read.write_bytes(files["network-config"])
    words = ["-p", str(read), "-k", "yaml", "-O", kind, "-D", distro, "-d", str(made)]
    mapping = ["-m", f"eth0,{plan.identity.guest_mac}"]
    subprocess.run(["cloud-init", "devel", "net-convert", *words, *mapping], capture_output=True, check=True)
    text = "\n".join(path.read_text() for path in sorted(made.rglob("*")) if path.is_file())
    if kind == "eni":
        assert "iface lan inet dhcp" in text or "iface eth0 inet dhcp" in text
    else:
        assert f"MACAddress={plan.identity.guest_mac}" in text
        assert "DHCP=ipv4" in text
