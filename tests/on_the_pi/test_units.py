"""Every systemd unit that an image gets: what systemd says of its words, and how far each service is shut in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.model.edits import WriteFile
from tests.pi_room import FEATURES, SETS
from tests.planned import BASES, ROLES, plan_of

EXPOSURE = 2.5
"""The most that `systemd-analyze security` may say of a service, out of 10; below 5 is OK to systemd itself."""
EXCEPTIONS = {
    "k3s.service": "runs containers: it mounts, loads modules, makes namespaces, devices and cgroups, sets up networks",
}
UNITS = "/usr/lib/systemd/system/"


def services(folder: Path, base: str, role: str) -> dict[str, str]:
    """Names and texts of the services that an image gets, as they are rendered."""
    edits = plan_of(folder, base=base, role=role).edits
    units = (edit for edit in edits if isinstance(edit, WriteFile) and edit.path.startswith(UNITS))
    return {Path(edit.path).name: edit.content.decode() for edit in units if edit.path.endswith(".service")}


def exposure(text: str, name: str, folder: Path) -> float:
    (folder / name).write_text(text)
    argv = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(folder / name)]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin"}
    )
    (verdict,) = (line for line in done.stdout.splitlines() if "Overall exposure level" in line)
    return float(verdict.partition(": ")[2].split()[0])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("role", ROLES)
def test_every_service_is_shut_in(base: str, role: str, shipped_folder: Path, tmp_path: Path) -> None:
    found = services(shipped_folder, base, role)
    assert "pimu-grow.service" in found
    table = {name: exposure(text, name, tmp_path) for name, text in found.items()}
    assert {name: level for name, level in table.items() if level > EXPOSURE and name not in EXCEPTIONS} == {}


def test_an_open_service_is_noticed(shipped_folder: Path, tmp_path: Path) -> None:
    text = services(shipped_folder, "debian-trixie", "worker")["pimu-guest.service"]
    opened = [
        line for line in text.splitlines() if not line.startswith(("CapabilityBoundingSet=", "SystemCallFilter="))
    ]
    assert exposure("\n".join(opened), "pimu-guest.service", tmp_path) > EXPOSURE
    assert exposure("[Service]\nExecStart=/bin/true\n", "plain.service", tmp_path) > 9


def test_the_guests_emulator_has_no_capability(shipped_folder: Path) -> None:
    text = services(shipped_folder, "debian-trixie", "worker")["pimu-guest.service"].splitlines()
    assert "CapabilityBoundingSet=" in text
    assert "NoNewPrivileges=yes" in text
    assert not [line for line in text if line.startswith("AmbientCapabilities=")]


def test_every_feature_with_a_unit_is_in_the_room_where_units_are_verified() -> None:
    """test_runtime has `systemd-analyze verify` look at all units of the room."""
    with_units = {
        path.relative_to(FEATURES).parts[0] for path in FEATURES.glob("*/root/*/**/system/*") if path.is_file()
    }
    nested = {path.relative_to(FEATURES).parts[0] for path in FEATURES.glob("*/root/**/*.timer.d/*")}
    assert {"growth", "guest", "k3s", "trim"} <= with_units | nested <= set(SETS)
