"""The Pi's programs at boot, run for real: the scripts of overlays/ in a room that looks like the Pi (pi_room)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pi_room import FEATURES, Room, open_room, stage

UNITS = "/usr/lib/systemd/system"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return stage(tmp_path / "stage")


@pytest.fixture
def room(tmp_path: Path, staged: Path) -> Iterator[Room]:
    with open_room(tmp_path / "root", staged) as room:
        yield room


def test_scripts_are_clean_posix_sh() -> None:
    folders = ("lib/pimu", "lib/pimu/identities.d", "bin")
    found = [path for folder in folders for path in FEATURES.glob(f"*/root/usr/{folder}/*")]
    programs = [path for path in found if path.is_file()]
    assert len(programs) > 8
    subprocess.run(["shellcheck", *programs], check=True)


# Units ----------------------------------------------------------------------------------------------------------------


def complaints(room: Room) -> str:
    """systemd exits 0 for a key that it does not know, and says so: what it prints is the verdict. k3s itself comes at
    the first boot."""
    room.run("mount -t tmpfs tmpfs /usr/local/bin; cp /bin/true /usr/local/bin/k3s")
    ours = sorted(path.name.removesuffix(".j2") for path in FEATURES.glob(f"*/root{UNITS}/*"))
    return room.run(f"cd {UNITS}; systemd-analyze verify --man=no {' '.join(ours)} fstrim.timer || true")


@pytest.mark.disk
def test_systemd_has_nothing_to_say_about_the_units(room: Room) -> None:
    assert complaints(room) == ""


@pytest.mark.disk
@pytest.mark.parametrize(
    ("unit", "right", "wrong"),
    [
        ("pimu-report.timer", "OnBootSec=", "OnBoot="),
        ("pimu-guest.service", "ExecStop=/usr/lib/pimu/guest-stop", "ExecStop=/usr/lib/pimu/guest-halt"),
        ("pimu-swap.service", "After=pimu-grow.service", "After=pimu-grow"),
        ("k3s.service", "KillMode=process", "KillMode=main"),
        ("pimu-guest-tap.service", "ProtectSystem=strict", "ProtectSystem=stern"),
        ("pimu-swap.service", "SystemCallFilter=@swap", "SystemCallFilter=@swaps"),
    ],
)
def test_a_slip_in_a_unit_is_noticed(staged: Path, tmp_path: Path, unit: str, right: str, wrong: str) -> None:
    file = staged / UNITS.lstrip("/") / unit
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    with open_room(tmp_path / "root", staged) as room:
        assert unit in complaints(room)


def test_every_unit_says_what_it_is(staged: Path) -> None:
    units = sorted((staged / UNITS.lstrip("/")).iterdir())
    for unit in units:
        text = unit.read_text()
        assert "\nDescription=" in text, unit
        assert "\nDocumentation=man:" in text or "\nDocumentation=https://docs.k3s.io/" in text, unit
        assert unit.suffix == ".timer" or f"\nSyslogIdentifier={unit.stem}\n" in text, unit
        started_by_timer = unit.with_suffix(".timer") in units and unit.suffix == ".service"
        started_by_another = started_by_timer or unit.name in ("k3s.service", "pimu-guest-tap.service")
        assert started_by_another != ("\n[Install]\nWantedBy=" in text), unit


# Report ---------------------------------------------------------------------------------------------------------------


@pytest.mark.disk
def test_a_hostile_value_leaves_the_report_valid(room: Room) -> None:
    room.path("/hostile").write_bytes(b'"quoted" back\\slash\ttab\nline \xc3\xa9 \x01 $(reboot) %s =end')
    room.run('. /usr/lib/pimu/lib.sh; report disk ok "text=$(cat /hostile)" empty=')
    said = room.report("disk")
    assert said["text"] == '"quoted" back\\slash\ttab\nline ?? ? $(reboot) %s =end'
    assert said["empty"] == ""
    assert said["status"] == "ok"


@pytest.mark.disk
def test_steps_before_the_boot_volume_is_mounted_are_reported_by_later_ones(room: Room) -> None:
    room.run("umount /boot/firmware; . /usr/lib/pimu/lib.sh; report grow changed bytes=7")
    assert room.run("ls /boot/firmware") == ""
    room.run("mount -t tmpfs tmpfs /boot/firmware; . /usr/lib/pimu/lib.sh; report swap ok")
    assert room.report("grow")["bytes"] == "7"
    assert room.report("swap")["status"] == "ok"


@pytest.mark.disk
def test_a_report_that_cannot_be_written_does_not_stop_the_step(room: Room) -> None:
    room.run("mount -o remount,ro /boot/firmware; . /usr/lib/pimu/lib.sh; set -e; report swap ok; touch /went-on")
    assert room.path("/went-on").exists()


@pytest.mark.disk
def test_a_step_that_dies_is_reported(room: Room) -> None:
    room.run(". /usr/lib/pimu/lib.sh; set -eu; begin swap; false; echo unreachable", succeeds=False)
    assert room.report("swap")["status"] == "failed"


# Host keys ------------------------------------------------------------------------------------------------------------

KEYS = tuple(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519"))


def keys(room: Room) -> dict[str, bytes]:
    return {name: room.path(name).read_bytes() for key in KEYS for name in (key, f"{key}.pub")}


@pytest.mark.disk
def test_only_missing_and_damaged_host_keys_are_made(room: Room) -> None:
    room.run("/usr/lib/pimu/hostkeys")
    first = keys(room)
    fingerprint = room.run(f"ssh-keygen -lf {KEYS[2]}").split()[1]
    assert room.report("hostkeys")["ed25519"] == fingerprint

    room.path(KEYS[1]).write_bytes(first[KEYS[1]][:100])
    room.path(f"{KEYS[0]}.pub").write_bytes(b"")
    room.path(f"{KEYS[1]}.new").write_bytes(b"half a key")
    room.path(KEYS[2]).chmod(0o644)
    room.run("/usr/lib/pimu/hostkeys")
    second = keys(room)
    assert {name for name in first if first[name] != second[name]} == {KEYS[1], f"{KEYS[1]}.pub"}
    assert room.report("hostkeys")["made"] == "ecdsa"
    for key in KEYS:
        assert room.path(key).stat().st_mode & 0o777 == 0o600
        assert room.run(f"ssh-keygen -y -f {key}").split()[1].encode() in second[f"{key}.pub"]

    room.run("/usr/lib/pimu/hostkeys")
    assert keys(room) == second
    assert sorted(path.name for path in room.path("/etc/ssh").iterdir()) == sorted(Path(name).name for name in second)


# Power ----------------------------------------------------------------------------------------------------------------

WEAK = "under-voltage: the power supply or its cable is too weak"


@pytest.mark.parametrize(
    ("firmware", "sensor", "status", "power"),
    [
        ("echo throttled=0x0", "0", "ok", ""),
        ("echo throttled=0x0", "1", "ok", ""),  # the firmware knows better
        ("echo throttled=0x50005", "0", "degraded", f"{WEAK};throttled"),
        ("echo throttled=0xa0000", "0", "degraded", "clock was capped;too hot"),
        ("echo throttled=0x4", "0", "ok", ""),  # its sticky bit would be set
        ("exit 1", "1", "degraded", WEAK),
        ("exit 1", "0", "ok", ""),
        ("exit 1", None, "ok", ""),
    ],
)
def test_the_report_says_what_is_wrong_with_the_power(
    tmp_path: Path, firmware: str, sensor: str | None, status: str, power: str
) -> None:
    staged = stage(tmp_path / "staged")
    for name, script in {"vcgencmd": firmware, "systemctl": "true", "hostname": "echo 192.168.1.13"}.items():
        (staged / "usr/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (staged / "usr/bin" / name).chmod(0o755)
    with open_room(tmp_path / "room", staged) as room:
        room.run("mount -t tmpfs tmpfs /sys")
        if sensor is not None:
            room.run("mkdir -p /sys/class/hwmon/hwmon0 /sys/class/hwmon/hwmon1; cd /sys/class/hwmon")
            room.run("cd /sys/class/hwmon; echo cpu_thermal >hwmon0/name; echo rpi_volt >hwmon1/name")
            room.run(f"echo {sensor} >/sys/class/hwmon/hwmon1/in0_lcrit_alarm")
        room.run("/usr/lib/pimu/report-boot")
        found = room.report("boot")
    assert (found["status"], found["power"], found["addresses"]) == (status, power, "192.168.1.13")
