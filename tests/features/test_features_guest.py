"""The guest: QEMU's words, its account, the seed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.errors import ConfigurationError
from builder.model.edits import PlaceBlob
from builder.model.plan import Plan
from tests.conftest import PUBLIC_KEY
from tests.planned import BASES, Pi, pi_of, placeholder, plan_of


@pytest.mark.parametrize(
    ("base", "accelerator", "cpu"),
    [
        ("debian-trixie", "tcg,thread=multi,tb-size=256", "Nehalem"),
        ("raspios-trixie", "tcg,thread=multi,tb-size=256", "Nehalem"),
        ("raspios-bookworm", "tcg,thread=single,tb-size=256", "Nehalem,-cx16"),
        ("raspios-bullseye", "tcg,thread=single,tb-size=256", "Nehalem,-cx16"),
    ],
)
def test_threads_and_cpu_model_follow_the_bases_qemu(
    base: str, accelerator: str, cpu: str, shipped_folder: Path
) -> None:
    plan = plan_of(shipped_folder, base=base)
    settings = _settings(pi_of(plan))

    assert settings["PIMU_GUEST_ACCEL"] == accelerator
    assert settings["PIMU_GUEST_CPU"] == cpu
    notes = [note.text for note in plan.notes if "thread=single" in note.text]
    assert bool(notes) == ("thread=single" in accelerator)
    assert all(plan.base.qemu in note and "8.1" in note for note in notes)


@pytest.mark.parametrize(
    ("qemu", "thread", "cpu"),
    [("8.0", "single", "Nehalem,-cx16"), ("8.1", "multi", "Nehalem"), ("10.0", "multi", "Nehalem")],
)
def test_versions_are_numbers_not_texts(qemu: str, thread: str, cpu: str, project_folder: Path) -> None:
    settings = _settings(pi_of(plan_of(_with_qemu(project_folder, qemu))))
    assert f"thread={thread}," in settings["PIMU_GUEST_ACCEL"]
    assert settings["PIMU_GUEST_CPU"] == cpu


def test_a_qemu_older_than_every_cpu_model_is_refused(project_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no CPU model for QEMU 4\.2 or older"):
        plan_of(_with_qemu(project_folder, "4.2"))


@pytest.mark.parametrize("base", BASES)
def test_a_role_without_guest_gets_nothing_of_it(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base, role="server")

    assert not [edit for edit in plan.edits if "guest" in edit.path or "qemu" in edit.path]
    assert not [name for name in _settings(pi_of(plan, secrets=placeholder)) if "GUEST" in name]
    assert plan.seed == ()


def test_the_guests_disk_is_shared_and_its_seed_the_nodes(shipped_folder: Path) -> None:
    blobs = {edit.blob: edit for edit in plan_of(shipped_folder).edits if isinstance(edit, PlaceBlob)}
    assert blobs["guest-disk"].scope == "golden"
    assert (blobs["guest-disk"].mode, blobs["guest-disk"].gid) == (0o644, 0)
    assert blobs["guest-seed"].scope == "node"
    assert (blobs["guest-seed"].mode, blobs["guest-seed"].gid) == (0o640, 900)


def test_qemus_own_account_cannot_log_in(shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder))
    assert "pimu-guest:x:900:900::/var/lib/pimu/guest:/usr/sbin/nologin" in pi.text("/etc/passwd").splitlines()
    assert "pimu-guest:!*:::::::" in pi.text("/etc/shadow").splitlines()
    assert "pimu-guest:x:900:" in pi.text("/etc/group").splitlines()
    home = pi.entry("/var/lib/pimu/guest")
    assert home is not None
    assert (home.mode, home.uid, home.gid) == (0o750, 0, 900)


def test_the_bridge_helpers_list_can_be_read_by_qemu(shipped_folder: Path) -> None:
    entry = pi_of(plan_of(shipped_folder)).entry("/etc/qemu/bridge.conf")
    assert entry is not None
    assert (entry.read(), entry.mode) == (b"allow br0\n", 0o644)


def test_the_guest_starts_with_the_bridge_and_with_nothing_else(project_folder: Path) -> None:
    pi = pi_of(plan_of(project_folder))
    wants = [path for path in pi.root.entries if path.endswith(".wants/pimu-guest.service")]
    assert wants == ["etc/systemd/system/sys-subsystem-net-devices-br0.device.wants/pimu-guest.service"]
    assert pi.is_enabled("pimu-guest-watch.timer")


@pytest.mark.parametrize("package", ["qemu-system-x86", "qemu-utils", "socat"])
def test_a_guest_without_what_runs_it_is_refused(project_folder: Path, package: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the guest needs the package {package}") as caught:
        plan_of(project_folder, node=f"packages: {{{package}: false}}\n")
    assert caught.value.where == "profiles/nodes/node-003.yaml:1"


def test_packages_can_be_switched_off_by_name(project_folder: Path) -> None:
    assert "vim" in plan_of(project_folder).packages
    assert "vim" not in plan_of(project_folder, node="packages: {vim: false}\n").packages


def test_the_seed_is_nocloud(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder)
    seed = _seed(plan)

    assert seed["meta-data"] == {"instance-id": plan.identity.instance_id, "local-hostname": "k3s-003"}
    assert seed["network-config"] == {
        "version": 2,
        "ethernets": {"lan": {"match": {"macaddress": plan.identity.guest_mac}, "dhcp4": True}},
    }
    (user,) = seed["user-data"]["users"]
    assert user["name"] == "pimu"
    assert user["ssh_authorized_keys"] == [PUBLIC_KEY]
    assert next(file.content for file in plan.seed if file.name == "user-data").startswith(b"#cloud-config\n")


def test_the_guests_mac_is_the_same_everywhere(project_folder: Path) -> None:
    plan = plan_of(project_folder, node='machine: {mac: "52:54:00:12:34:50"}\n')
    assert plan.identity.guest_mac == "52:54:00:12:34:50"
    assert _variables(pi_of(plan).text("/etc/pimu/node.conf"))["PIMU_GUEST_MAC"] == "52:54:00:12:34:50"
    assert _seed(plan)["network-config"]["ethernets"]["lan"]["match"]["macaddress"] == "52:54:00:12:34:50"


def _settings(pi: Pi) -> dict[str, str]:
    return _variables(pi.text("/etc/pimu/settings.conf"))


def _variables(text: str) -> dict[str, str]:
    words = shlex.split(text, comments=True)
    return dict(word.split("=", 1) for word in words)


def _seed(plan: Plan) -> dict[str, Any]:
    documents = ("meta-data", "user-data", "network-config")
    return {file.name: yaml.safe_load(file.content) for file in plan.seed if file.name in documents}


def _with_qemu(folder: Path, version: str) -> Path:
    file = folder / "profiles/bases/debian-trixie.yaml"
    file.write_text(file.read_text().replace('qemu: "10.0"', f'qemu: "{version}"'))
    return folder
