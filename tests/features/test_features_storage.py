"""Swap and TRIM."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.features.keys import keys_of
from builder.features.trim.settings import TrimKeys
from tests.planned import BASES, pi_of, placeholder, plan_of


@pytest.mark.parametrize("base", BASES)
def test_swap_is_ours_and_nothing_of_it_is_in_the_image(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base)
    pi = pi_of(plan)

    assert pi.is_enabled("pimu-swap.service")
    assert pi.is_masked("dphys-swapfile.service") == (plan.base.swap_manager == "dphys-swapfile")
    if plan.base.swap_manager == "rpi-swap":
        assert pi.ini("/etc/rpi/swap.conf.d/90-pimu.conf")["Main"]["Mechanism"] == "none"
    assert not [edit for edit in plan.edits if edit.path in ("/swapfile", "/var/swap")]


@pytest.mark.parametrize("base", BASES)
def test_a_role_without_swap_has_none_at_all(base: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, base=base, role="server")
    pi = pi_of(plan, secrets=placeholder)

    assert not pi.is_enabled("pimu-swap.service")
    assert pi.is_masked("dphys-swapfile.service") == (plan.base.swap_manager == "dphys-swapfile")


def test_fstrim_runs_on_the_second_and_only_then(shipped_folder: Path) -> None:
    lines = pi_of(plan_of(shipped_folder)).text("/etc/systemd/system/fstrim.timer.d/10-pimu.conf").splitlines()

    calendars = [line.partition("=")[2] for line in lines if line.startswith("OnCalendar=")]
    assert calendars == ["", "*:0/2"]
    assert {"RandomizedDelaySec=0", "AccuracySec=1s", "Persistent=false"} <= set(lines)
    assert pi_of(plan_of(shipped_folder)).is_enabled("fstrim.timer")


@pytest.mark.parametrize("role", ["worker", "server"])
def test_systemd_understands_the_shipped_calendar(role: str, shipped_folder: Path) -> None:
    """A calendar that it does not understand leaves the timer dead, and the SSD untrimmed."""
    calendar = keys_of(plan_of(shipped_folder, role=role).settings, TrimKeys).trim.calendar
    done = subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_enclosure_is_trusted_unless_it_is_named(shipped_folder: Path) -> None:
    assert not [edit for edit in plan_of(shipped_folder).edits if "udev" in edit.path]


def test_each_named_enclosure_gets_its_three_rules(project_folder: Path) -> None:
    node = 'trim: {enclosures: ["152d:0578", "174c:55aa"]}\n'
    text = pi_of(plan_of(project_folder, node=node)).text("/etc/udev/rules.d/86-pimu-trim.rules")
    rules = [line for line in text.splitlines() if line.startswith("ACTION")]

    assert len(rules) == 6
    for vendor, product in (("152d", "0578"), ("174c", "55aa")):
        own = [rule for rule in rules if f'{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}"' in rule]
        assert len(own) == 3
        assert 'ATTR{provisioning_mode}="unmap"' in own[1]
        assert 'ATTR{queue/discard_max_bytes}="1073741824"' in own[2]
