"""The guest's scripts, run for real: QEMU as its own user on br0, with a boot sector for a system (GUEST)."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pi_room import GUEST_ID, Room, filesystem, open_room, stage

pytestmark = pytest.mark.disk

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CLUSTERS = 256
# fmt: off
GUEST = bytes.fromhex(
    "31c0 8ed8 8ed0 bc007c 8816777c"     # segments 0, stack below us, drive = dl
    "b055 e84e00"                        # say 'U': up
    "ba0206 b80001 ef"                   # PM1_EN: hear the power button (ACPI 4.8.3.1; SeaBIOS puts PM1 at 0x600)
    "e83300"                             # next: look at the button
    "b443 b000 8a16777c be657c cd13"     # write one sector to LBA (int 13h, ah=43h)
    "6681066d7c80000000 ff0e757c 75e1"   # LBA += 64 KiB, a cluster of qcow2; until 256 are written
    "b044 e82300"                        # say 'D': done
    "e80f00"                             # idle: look at the button
    "bafd03 ec a801 74f5"                # nothing on the serial line: idle
    "baf803 ec ee ebee"                  # say what came, idle
    "ba0006 ed f6c401 7407"              # button: PM1_STS bit 8 clear: return
    "ba0406 b80020 ef c3"                # PM1_CNT: sleep type 0 (soft off), sleep enable
    "baf803 ee c3"                       # say: al to the serial port
    "1000 0100 007c0000 8000000000000000"  # packet: one sector, from here, LBA 128
    "0001 00"                            # count, drive
)
DEAF = bytes.fromhex("faf4 ebfd")        # interrupts off, halt: never hears the button
YOUNG = bytes.fromhex(
    "b486 b93d00 ba0009 cd15"            # wait 4 s (int 15h, ah=86h)
    "ba0206 b80001 ef"                   # only now hear the power button
    "ba0006 ed f6c401 74fa"              # until it is pressed
    "ba0406 b80020 ef"                   # off
)
# fmt: on
AS_SYSTEMD_STARTS_IT = f"""
ip link show br0 >/dev/null 2>&1 || {{ ip link add br0 type bridge; ip link set br0 up; }}
install -d -o {GUEST_ID} -g {GUEST_ID} -m 0750 /run/pimu-guest /var/log/pimu
/usr/lib/pimu/guest-tap
exec setpriv --reuid={GUEST_ID} --regid={GUEST_ID} --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all --ambient-caps=-all /usr/lib/pimu/guest-run
"""
STOP = "MAINPID=$(pidof qemu-system-x86_64) /usr/lib/pimu/guest-stop"


def place_guest(staged: Path, program: bytes) -> None:
    """base.qcow2 with `program` as its boot sector, and a seed, as the image has them."""
    folder = staged / "usr/share/pimu/guest"
    folder.mkdir(parents=True)
    raw = folder / "base.raw"
    raw.write_bytes(program.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, folder / "base.qcow2"], check=True)
    raw.unlink()
    seed = folder / "seed.img"
    seed.write_bytes(bytes(64 * KIB))
    seed.chmod(0o640)
    os.chown(seed, 0, GUEST_ID)


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return stage(tmp_path / "stage")


@pytest.fixture
def room(tmp_path: Path, staged: Path) -> Iterator[Room]:
    """A room with the guest's disk made, on an SSD of 1.5 GiB."""
    place_guest(staged, GUEST)
    with filesystem(tmp_path / "ssd.img", 3 * GIB // 2, tmp_path / "root") as root, open_room(root, staged) as room:
        room.run("/usr/lib/pimu/guest-disk")
        yield room


def eventually(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def qmp(room: Room, command: str) -> str:
    return room.run(f". /usr/lib/pimu/guest-qmp.sh; qmp qmp.sock {command}")


def says(room: Room, text: str) -> Callable[[], bool]:
    log = room.path("/var/log/pimu/guest-serial.log")
    return lambda: log.exists() and text in log.read_text()


def test_the_guests_disk_is_made_once(room: Room) -> None:
    disk = room.path("/var/lib/pimu/guest/disk.qcow2")
    made = disk.stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (GUEST_ID, GUEST_ID, 0o600)
    assert disk.parent.stat().st_uid == 0
    facts = room.run("qemu-img info /var/lib/pimu/guest/disk.qcow2")
    assert "virtual size: 1 GiB" in facts
    assert "backing file: /usr/share/pimu/guest/base.qcow2" in facts
    assert "backing file format: qcow2" in facts

    room.run("/usr/lib/pimu/guest-disk")
    assert disk.stat().st_ino == made.st_ino
    assert room.report("guest-disk")["status"] == "ok"


def test_what_a_power_cut_left_of_a_disk_is_replaced(room: Room) -> None:
    disk = room.path("/var/lib/pimu/guest/disk.qcow2")
    disk.rename(disk.with_name("disk.qcow2.new"))
    room.run("/usr/lib/pimu/guest-disk")
    assert sorted(path.name for path in disk.parent.iterdir()) == ["disk.qcow2"]

    disk.write_bytes(b"not a disk")
    room.run("/usr/lib/pimu/guest-disk")
    assert room.report("guest-disk")["reason"] == "unreadable"
    assert disk.with_name("disk.qcow2.unreadable").read_bytes() == b"not a disk"
    room.run("qemu-img info -f qcow2 /var/lib/pimu/guest/disk.qcow2")


def test_the_guest_lives_on_the_bridge_survives_a_full_disk_and_powers_down(room: Room) -> None:
    room.path("/var/log/pimu").mkdir(parents=True)
    room.path("/var/log/pimu/guest-serial.log").write_text("the start before")
    room.run(f"fallocate -l $(($(df -B1 --output=avail / | tail -n 1) - {6 * MIB})) /filler")
    qemu = room.start(AS_SYSTEMD_STARTS_IT)
    eventually(says(room, "U"))
    assert room.path("/var/log/pimu/guest-serial.log.1").read_text() == "the start before"
    assert room.run("ls /sys/class/net/br0/brif") == "tap-guest\n"
    assert "52:54:00:12:34:56" in qmp(room, "query-rx-filter")

    eventually(lambda: '"io-error"' in qmp(room, "query-status"))
    room.run("/usr/lib/pimu/guest-watch; /usr/lib/pimu/guest-watch")
    assert room.report("guest") | {"status": "paused", "reason": "disk full"} == room.report("guest")
    room.path("/filler").unlink()
    room.run("/usr/lib/pimu/guest-watch")
    assert room.report("guest")["status"] == "running"
    eventually(says(room, "D"))

    # The disk of a running guest is locked; that must not make it look broken.
    room.run("/usr/lib/pimu/guest-disk")
    assert room.report("guest-disk")["status"] == "ok"

    room.run(STOP)
    assert qemu.wait(timeout=5) == 0
    room.run("MAINPID= /usr/lib/pimu/guest-stop; /usr/lib/pimu/guest-watch")
    extents = json.loads(room.run("qemu-img map --output=json /var/lib/pimu/guest/disk.qcow2"))
    assert sum(extent["length"] for extent in extents if extent["depth"] == 0 and extent["data"]) == CLUSTERS * 64 * KIB


@contextmanager
def running(
    program: bytes, tmp_path: Path, staged: Path, settings: str = "", *, before: str = "true"
) -> Iterator[tuple[Room, subprocess.Popen[str]]]:
    """A room and its QEMU process, which listens and is on the bridge."""
    place_guest(staged, program)
    with (staged / "etc/pimu/settings.conf").open("a") as file:
        file.write(settings)
    with filesystem(tmp_path / "ssd.img", 64 * MIB, tmp_path / "root") as root, open_room(root, staged) as room:
        room.run(f"{before}; /usr/lib/pimu/guest-disk")
        qemu = room.start(AS_SYSTEMD_STARTS_IT)
        eventually(lambda: room.run("cat /sys/class/net/tap-guest/carrier 2>/dev/null || true") == "1\n")
        yield room, qemu


def test_a_guest_too_young_to_hear_the_button_is_asked_again(tmp_path: Path, staged: Path) -> None:
    with running(YOUNG, tmp_path, staged) as (room, qemu):
        began = time.monotonic()
        room.run(STOP)
        assert time.monotonic() - began > 9
        assert qemu.wait(timeout=5) == 0


def test_a_deaf_guest_is_given_up_in_time(tmp_path: Path, staged: Path) -> None:
    with running(DEAF, tmp_path, staged, "PIMU_GUEST_STOP_TIMEOUT=3\n") as (room, qemu):
        began = time.monotonic()
        assert "did not power down in 3 s" in room.run(STOP)
        assert 2 < time.monotonic() - began < 8
        assert qemu.poll() is None


def test_the_console_talks_to_the_guest_and_lets_go(room: Room) -> None:
    assert "not running" in room.run("pimu-console", succeeds=False)
    assert "sudo pimu-console" in room.run(f"setpriv --reuid={GUEST_ID} pimu-console", succeeds=False)
    room.start(AS_SYSTEMD_STARTS_IT)
    eventually(says(room, "D"))
    ours, theirs = pty.openpty()
    console = subprocess.Popen(room.argv("pimu-console"), stdin=theirs, stdout=theirs, stderr=theirs)
    heard = b""
    while b"to leave" not in heard:
        heard += os.read(ours, 1000)

    def typed() -> bool:
        os.write(ours, b"z")
        return says(room, "z")()

    eventually(typed)
    os.write(ours, b"\x1d")
    assert console.wait(timeout=5) == 0


def test_a_qemu_that_fails_is_reported_and_one_that_ends_is_not(room: Room) -> None:
    ended = "EXIT_CODE=exited EXIT_STATUS={} SERVICE_RESULT={} /usr/lib/pimu/guest-ended"
    room.run(ended.format(0, "success"))
    assert not room.path("/var/lib/pimu/report/guest.json").exists()
    room.run(ended.format(1, "exit-code"))
    assert room.report("guest") | {"status": "failed", "reason": "QEMU ended: exited 1"} == room.report("guest")


def test_a_long_log_is_cut_by_its_owner_not_by_root(room: Room) -> None:
    """QEMU's account may put a link where the log was; root would follow it."""
    logs, prize = room.path("/var/log/pimu"), room.path("/root-only")
    logs.mkdir(parents=True)
    os.chown(logs, GUEST_ID, GUEST_ID)
    prize.write_text("mine")
    prize.chmod(0o600)
    log = logs / "guest-serial.log"
    log.write_bytes(bytes(33 * MIB) + b"last words")
    os.chown(log, GUEST_ID, GUEST_ID)
    (logs / "guest-serial.log.1").symlink_to("/root-only")
    room.run("/usr/lib/pimu/guest-watch", succeeds=False)
    assert prize.read_text() == "mine"

    (logs / "guest-serial.log.1").unlink()
    room.run("/usr/lib/pimu/guest-watch")
    assert log.stat().st_size == 0
    assert (logs / "guest-serial.log.1").read_bytes().endswith(b"last words")


@pytest.mark.parametrize(
    ("ram", "swap", "asked", "given"),
    [
        (4000, 0, "auto", 3000),
        (1900, 0, "auto", 1900 - 768),
        (1000, 0, "auto", 512),
        (4000, 4000, 4 * GIB, 4096),
        (4000, 2000, 60 * GIB, 5000),
        (4000, 0, 60 * GIB, 3000),
    ],
)
def test_memory_is_what_was_asked_or_the_machine_can_give(
    tmp_path: Path, staged: Path, ram: int, swap: int, asked: int | str, given: int
) -> None:
    """`ram`, `swap` and `given` in MiB."""
    meminfo = f"MemTotal: {ram * 1024} kB\nSwapTotal: {swap * 1024} kB\n"
    pretend = f"echo '{meminfo}' >/meminfo; mount --bind /meminfo /proc/meminfo"
    with running(DEAF, tmp_path, staged, f"PIMU_GUEST_MEMORY={asked}\n", before=pretend) as (room, _):
        assert f'"base-memory": {given * MIB}' in qmp(room, "query-memory-size-summary")
