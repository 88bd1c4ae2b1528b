"""The hardware watchdog: systemd's own setting, which a node without the key keeps as its base has it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.features.watchdog.checks import checks
from tests.boot.test_boot import SYSTEM, WANT
from tests.planned import BASES, pi_of, plan_of

DROP_IN = "/etc/systemd/system.conf.d/90-pimu-watchdog.conf"


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("said", "setting"), [("15s", "15s"), ("2min", "2min"), ("off", "0"), ('"off"', "0")])
def test_the_watchdog_has_the_time_that_is_asked_for(base: str, said: str, setting: str, project_folder: Path) -> None:
    """systemd of Debian 11 knows no `off`: 0 is off to every version."""
    pi = pi_of(plan_of(project_folder, base=base, node=f"watchdog: {said}\n"))
    lines = [line for line in pi.text(DROP_IN).splitlines() if not line.startswith("#")]
    assert lines == ["[Manager]", f"RuntimeWatchdogSec={setting}"]


@pytest.mark.parametrize("base", BASES)
def test_without_the_key_the_bases_own_setting_stays(base: str, shipped_folder: Path) -> None:
    assert pi_of(plan_of(shipped_folder, base=base)).entry(DROP_IN) is None


def test_systemd_takes_the_file_after_those_of_the_base(project_folder: Path, tmp_path: Path) -> None:
    text = pi_of(plan_of(project_folder, node="watchdog: 15s\n")).text(DROP_IN)
    for path, content in (
        ("etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=1min\n"),
        ("usr/lib/systemd/system.conf.d/40-base.conf", "[Manager]\nRuntimeWatchdogSec=3min\n"),
        (DROP_IN.strip("/"), text),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    shown = subprocess.run(
        ["systemd-analyze", f"--root={tmp_path}", "cat-config", "systemd/system.conf"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings = [line for line in shown.splitlines() if line.startswith("RuntimeWatchdogSec=")]
    assert settings == ["RuntimeWatchdogSec=1min", "RuntimeWatchdogSec=3min", "RuntimeWatchdogSec=15s"]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("15", "is not text"),
        ("15 s", "is not off or a time such as 15s or 2min"),
        ("1h", "is not off or a time such as 15s or 2min"),
        ("never", "is not off or a time such as 15s or 2min"),
        ("4s", "is 4s, and a watchdog waits 5s to 10min"),
        ("11min", "is 11min, and a watchdog waits 5s to 10min"),
        ("true", "is not text"),
    ],
)
def test_a_time_that_is_none_is_refused(said: str, fault: str, project_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        plan_of(project_folder, node=f"watchdog: {said}\n")


@pytest.mark.parametrize(
    ("said", "shown", "passed"),
    [
        ("15s", "15s", True),
        ("90s", "1min 30s", True),
        ("2min", "2min", True),
        ("off", "0", True),
        ("15s", "0", False),
        ("off", "15s", False),
        ("15s", "", False),
        ("15s", "infinity", False),
    ],
)
def test_the_boot_check_sees_another_time(said: str, shown: str, passed: bool, project_folder: Path) -> None:
    want = replace(WANT, settings=plan_of(project_folder, node=f"watchdog: {said}\n").settings)
    assert [result.passed for result in checks({**SYSTEM, "watchdog": shown}, want)] == [passed]
    assert not list(checks({**SYSTEM, "watchdog": shown}, WANT))
