"""The boot volume's two text files, the ids in them, and what is said again where Debian writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.patches import NamedBlock
from tests.planned import BASES, ROLES, pi_of, placeholder, plan_of


@pytest.mark.parametrize("base", BASES)
def test_the_node_boots_from_its_own_partitions(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base)
    pi = pi_of(plan)
    root = f"PARTUUID={plan.identity.disk_id:08x}-02"

    assert [word for word in pi.text("/cmdline.txt", "boot").split() if word.startswith("root=")] == [f"root={root}"]
    mounts = [line.split() for line in pi.text("/etc/fstab").splitlines()]
    assert [(source, mount, kind) for source, mount, kind, *_ in mounts] == [
        ("proc", "/proc", "proc"),
        (f"PARTUUID={plan.identity.partuuid}-01", plan.base.boot.mount, "vfat"),
        (root, "/", "ext4"),
    ]


@pytest.mark.parametrize("base", BASES)
def test_the_kernels_words_stay_one_line_and_lose_what_would_grow_or_break(base: str, shipped_folder: Path) -> None:
    text = pi_of(plan_of(shipped_folder, base=base)).text("/cmdline.txt", "boot")

    assert text.count("\n") == 1
    words = text.split()
    assert not [word for word in words if word == "resize" or word.startswith(("init=", "cma="))]
    assert "rootwait" in words
    assert any(word.startswith("console=") for word in words)


def test_debians_own_hook_repeats_ids_and_overclock_at_a_kernel_update(shipped_folder: Path) -> None:
    """z50-raspi-firmware writes both files anew: these are the texts that it adds to them."""
    plan = plan_of(shipped_folder)
    pi = pi_of(plan)

    assert pi.text("/etc/default/raspi-extra-cmdline") == f"root=PARTUUID={plan.identity.partuuid}-02\n"
    assert pi.text("/etc/default/raspi-firmware-custom") in pi.text("/config.txt", "boot")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("role", ROLES)
def test_all_edits_applied_twice_are_the_edits_applied_once(base: str, role: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base, role=role)
    once, twice = (pi_of(plan, secrets=placeholder, times=times) for times in (1, 2))

    for before, after in ((once.boot, twice.boot), (once.root, twice.root)):
        assert [(path, entry.read()) for path, entry in before.files()] == [
            (path, entry.read()) for path, entry in after.files()
        ]


def test_overclock_is_for_a_pi_4_only_and_leaves_later_lines_to_all(shipped_folder: Path) -> None:
    lines = pi_of(plan_of(shipped_folder)).text("/config.txt", "boot").splitlines()

    start = lines.index("[pi4]")
    assert lines[start : start + 4] == ["[pi4]", "arm_freq=2000", "over_voltage=6", "[all]"]
    assert not [line for line in lines[start + 4 :] if line.startswith("[")]
    assert "force_turbo=1" not in lines


def test_another_overclock_replaces_the_block(shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder))
    text = NamedBlock("overclock", ("[pi4]", "arm_freq=1800", "[all]")).apply(pi.text("/config.txt", "boot"))

    assert text.count("[pi4]") == 1
    assert "arm_freq=2000" not in text


def test_force_turbo_is_said_when_it_is_asked_for(project_folder: Path) -> None:
    node = "overclock: {arm_freq: 2100, over_voltage: 8, force_turbo: sets-the-warranty-bit}\n"
    assert "force_turbo=1\n" in pi_of(plan_of(project_folder, node=node)).text("/config.txt", "boot")


def test_without_overclock_config_txt_is_the_bases(project_folder: Path) -> None:
    plan = plan_of(project_folder, node="overclock: null\n")
    assert not [edit for edit in plan.edits if edit.feature == "overclock"]


@pytest.mark.parametrize(
    ("base", "stock"),
    [("raspios-trixie", "rpi-resize.service"), ("raspios-bookworm", "resize2fs_once.service")],
)
def test_growth_is_ours_alone(base: str, stock: str, shipped_folder: Path) -> None:
    pi = pi_of(plan_of(shipped_folder, base=base))

    assert pi.is_masked(stock)
    assert pi.is_enabled("pimu-grow.service")


@pytest.mark.parametrize("base", BASES)
def test_no_machine_id_is_baked_and_none_makes_systemd_enable_units(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base)
    pi = pi_of(plan)

    assert pi.text("/etc/machine-id") == {"empty": "", "uninitialized": "uninitialized\n"}[plan.base.machine_id]
    assert "ignore *" in pi.text("/usr/lib/systemd/system-preset/10-pimu.preset").splitlines()
