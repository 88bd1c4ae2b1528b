"""The Pi's changes to its disk at boot, run for real on loop devices: root grows, swap takes its share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pi_room import Room, attached, filesystem, mounted, open_room, sparse_file, stage

pytestmark = pytest.mark.disk

MIB = 1 << 20
TWO = "start=2048, size=2048, type=c\nstart=4096, size=61440, type=83\n"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return stage(tmp_path / "stage")


# Growth ---------------------------------------------------------------------------------------------------------------


def flashed(image: Path, *, table: str = TWO, size: int) -> Path:
    """An image of 64 MiB with a root filesystem in its second partition, on a disk of `size` bytes."""
    sparse_file(image, 64 * MIB)
    script = f"label: dos\nlabel-id: 0x00c0ffee\n{table}"
    subprocess.run(["sfdisk", "--quiet", image], input=script.encode(), check=True)
    with attached(image) as device:
        subprocess.run(["mkfs.ext4", "-q", "-F", f"{device}p2"], check=True)
    return sparse_file(image, size)


@contextmanager
def booted(image: Path, root: Path, staged: Path) -> Iterator[Room]:
    """A room whose / is the second partition of the image."""
    with attached(image) as device, mounted(f"{device}p2", root), open_room(root, staged) as room:
        yield room


def partitions(image: Path) -> dict[int, tuple[int, int]]:
    """Start and size in sectors by number."""
    listing = subprocess.run(["sfdisk", "--json", image], check=True, capture_output=True).stdout
    table = json.loads(listing)["partitiontable"]
    assert table["id"] == "0x00c0ffee"
    return {number: (entry["start"], entry["size"]) for number, entry in enumerate(table["partitions"], start=1)}


RESIZE2FS = "#!/bin/sh\necho called for $1 >>/resized\n"


@pytest.fixture
def growing(staged: Path) -> Path:
    """With a stand-in for resize2fs: the kernel resizes what is mounted only for CAP_SYS_RESOURCE, which root of a
    build machine may lack. That the filesystem itself grows is seen by the boot test."""
    stand_in = staged / "usr/sbin/resize2fs"
    stand_in.parent.mkdir()
    stand_in.write_text(RESIZE2FS)
    stand_in.chmod(0o755)
    return staged


def test_the_root_partition_grows_to_the_disk_and_then_is_left_alone(tmp_path: Path, growing: Path) -> None:
    image = flashed(tmp_path / "disk.img", size=300 * MIB)
    with booted(image, tmp_path / "root", growing) as room:
        device = room.run("/usr/lib/pimu/grow; findmnt -n -o SOURCE /").split()[-1]
        assert room.run(f"blockdev --getsize64 {device}") == f"{298 * MIB}\n"
        room.run("/usr/lib/pimu/grow")
        assert room.report("grow")["device"] == device
        assert room.path("/resized").read_text() == f"called for {device}\n" * 2
    assert partitions(image) == {1: (2048, 2048), 2: (4096, 298 * 2048)}
    with attached(image) as device:
        subprocess.run(["e2fsck", "-fn", f"{device}p2"], check=True, capture_output=True)


def test_a_power_cut_between_partition_and_filesystem_is_healed(tmp_path: Path, growing: Path) -> None:
    image = flashed(tmp_path / "disk.img", size=200 * MIB)
    subprocess.run(["sfdisk", "--quiet", "-N", "2", image], input=b", +", check=True)
    with booted(image, tmp_path / "root", growing) as room:
        room.run("/usr/lib/pimu/grow")
        assert room.path("/resized").exists()
    assert partitions(image)[2] == (4096, 198 * 2048)


def test_growth_stops_at_a_partition_behind(tmp_path: Path, growing: Path) -> None:
    table = "start=2048, size=2048, type=c\nstart=4096, size=40960, type=83\nstart=122880, size=2048, type=83\n"
    image = flashed(tmp_path / "disk.img", table=table, size=200 * MIB)
    with booted(image, tmp_path / "root", growing) as room:
        room.run("/usr/lib/pimu/grow")
    assert partitions(image) == {1: (2048, 2048), 2: (4096, 118784), 3: (122880, 2048)}


def test_growth_stops_where_an_mbr_does(tmp_path: Path, growing: Path) -> None:
    image = flashed(tmp_path / "disk.img", size=3 << 40)
    with booted(image, tmp_path / "root", growing) as room:
        room.run("/usr/lib/pimu/grow")
    start, size = partitions(image)[2]
    assert start + size == 0xFFFFFFFF // 2048 * 2048


def test_a_root_that_is_no_partition_is_left_alone(tmp_path: Path, growing: Path) -> None:
    with filesystem(tmp_path / "disk.img", 64 * MIB, tmp_path / "root") as root, open_room(root, growing) as room:
        room.run("/usr/lib/pimu/grow")
        assert room.report("grow")["status"] == "skipped"
        assert not room.path("/resized").exists()


# Swap -----------------------------------------------------------------------------------------------------------------


@contextmanager
def swap_room(tmp_path: Path, staged: Path, *, disk: int, swap: int, reserve: str) -> Iterator[Room]:
    """A room on a filesystem of `disk` bytes. Swap belongs to the whole machine, so it is switched off at the end."""
    with (staged / "etc/pimu/settings.conf").open("a") as file:
        file.write(f"PIMU_SWAP_SIZE={swap}\nPIMU_SWAP_RESERVE={reserve}\n")
    with filesystem(tmp_path / "disk.img", disk, tmp_path / "root") as root, open_room(root, staged) as room:
        try:
            yield room
        finally:
            room.run("swapoff /swapfile || true")


def swap_bytes(room: Room) -> int:
    """The size of the room's swapfile when it is in use, else 0."""
    in_use = any(line.startswith("/swapfile ") for line in room.run("cat /proc/swaps").splitlines())
    return room.path("/swapfile").stat().st_size if in_use else 0


def test_swap_is_made_once_and_switched_on_at_every_boot(tmp_path: Path, staged: Path) -> None:
    with swap_room(tmp_path, staged, disk=400 * MIB, swap=100 * MIB, reserve="33%") as room:
        sparse_file(room.path("/swapfile.new"), MIB)
        room.run("/usr/lib/pimu/swap")
        assert swap_bytes(room) == 100 * MIB
        assert room.report("swap") | {"status": "changed", "bytes": str(100 * MIB)} == room.report("swap")
        file = room.path("/swapfile").stat()
        assert file.st_mode & 0o777 == 0o600
        assert not room.path("/swapfile.new").exists()

        room.run("/usr/lib/pimu/swap")
        room.run("swapoff /swapfile")
        room.run("/usr/lib/pimu/swap")
        assert swap_bytes(room) == 100 * MIB
        assert room.path("/swapfile").stat().st_ino == file.st_ino
        assert room.report("swap")["status"] == "ok"


def test_a_swapfile_without_its_header_is_made_anew(tmp_path: Path, staged: Path) -> None:
    with swap_room(tmp_path, staged, disk=400 * MIB, swap=100 * MIB, reserve="33%") as room:
        sparse_file(room.path("/swapfile"), 300 * MIB)
        room.run("/usr/lib/pimu/swap")
        assert swap_bytes(room) == 100 * MIB


@pytest.mark.parametrize("reserve", ["50%", str(200 * MIB)])
def test_swap_leaves_the_reserve_free(tmp_path: Path, staged: Path, reserve: str) -> None:
    with swap_room(tmp_path, staged, disk=400 * MIB, swap=1000 * MIB, reserve=reserve) as room:
        room.run("/usr/lib/pimu/swap")
        size, free = map(int, room.run("df -B1 --output=size,avail / | tail -n 1").split())
        reserved = size // 2 if reserve == "50%" else 200 * MIB
        assert reserved - MIB < free < reserved + 2 * MIB
        made = str(swap_bytes(room))
        assert room.report("swap") | {"status": "degraded", "bytes": made} == room.report("swap")


def test_no_room_is_no_swap_and_no_failure(tmp_path: Path, staged: Path) -> None:
    with swap_room(tmp_path, staged, disk=100 * MIB, swap=1000 * MIB, reserve="60%") as room:
        room.run("/usr/lib/pimu/swap")
        assert swap_bytes(room) == 0
        assert room.report("swap") | {"status": "degraded", "bytes": "0"} == room.report("swap")
