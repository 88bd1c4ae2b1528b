"""The way of k3s to a control plane, run for real in a room that looks like the Pi; the releases are in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pi_room import Room, open_room, stage

pytestmark = pytest.mark.disk

PROGRAM = b"#!/bin/sh\necho I am k3s, and large enough to be cut in two\n"
INSTALL = "/usr/lib/pimu/k3s-install"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """With a clock that is set, a kernel that counts memory, and no pause between two tries."""
    staged = stage(tmp_path / "stage")
    stand_ins = {"timedatectl": "cat /clock", "systemctl": 'echo "$(/usr/local/bin/k3s) $*" >>/started'}
    for name, script in stand_ins.items():
        (staged / "usr/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (staged / "usr/bin" / name).chmod(0o755)
    release = staged / "usr/lib/pimu/k3s-release.sh"
    release.write_text(release.read_text().replace("pause=5", "pause=0"))
    with open_room(tmp_path / "root", staged) as room:
        room.run("mount -t tmpfs tmpfs /usr/local/bin; mount -t tmpfs tmpfs /sys/fs/cgroup")
        room.run("echo cpuset cpu io memory pids >/sys/fs/cgroup/cgroup.controllers")
        room.path("/clock").write_text("yes\n")
        room.run("mkdir -p /etc/rancher/k3s; echo secret | tee /etc/rancher/k3s/token >/etc/rancher/k3s/agent-token")
        room.path("/releases/v1.36.5+k3s1").mkdir(parents=True)
        sums = f"{'0' * 64}  k3s\n{hashlib.sha256(PROGRAM).hexdigest()}  k3s-arm64\n"
        room.path("/releases/v1.36.5+k3s1/sha256sum-arm64.txt").write_text(sums)
        room.path("/releases/v1.36.5+k3s1/k3s-arm64").write_bytes(PROGRAM)
        yield room


def test_k3s_is_fetched_once_checked_and_reported(room: Room) -> None:
    room.run(INSTALL)
    assert room.run("/usr/local/bin/k3s") == "I am k3s, and large enough to be cut in two\n"
    assert room.report("k3s")["version"] == "v1.36.5+k3s1"
    first = room.run("stat -c '%i %a' /usr/local/bin/k3s")
    assert first.endswith(" 755\n")
    room.run("rm -r /releases")
    room.run(INSTALL)
    assert room.run("stat -c '%i %a' /usr/local/bin/k3s") == first
    assert room.report("k3s")["status"] == "ok"


def test_k3s_is_started_at_each_boot_when_it_is_there(room: Room) -> None:
    room.run(f"{INSTALL}; {INSTALL}")
    started = f"{PROGRAM.decode().partition('echo ')[2].strip()} --no-block start k3s.service\n"
    assert room.path("/started").read_text() == started * 2


def test_what_a_power_cut_leaves_is_completed(room: Room) -> None:
    room.run("mkdir -p /usr/local/bin")
    room.run(
        "head -c 20 /releases/v*/k3s-arm64 >/usr/local/bin/k3s.part; : >/usr/local/bin/k3s; chmod +x /usr/local/bin/k3s"
    )
    room.run(INSTALL)
    assert room.run("/usr/local/bin/k3s").startswith("I am k3s")
    assert room.run("ls /usr/local/bin") == "k3s\n"


def test_another_version_replaces_the_one_that_is_there(room: Room) -> None:
    room.run(INSTALL)
    room.run("sed -i s/v1.36.5/v1.36.6/ /etc/pimu/k3s.conf; mv /releases/v1.36.5+k3s1 /releases/v1.36.6+k3s1")
    room.run("echo more >>/releases/v1.36.6+k3s1/k3s-arm64")
    room.run('cd /releases/*; sum=$(sha256sum <k3s-arm64); echo "${sum%% *}  k3s-arm64" >sha256sum-arm64.txt')
    room.run(INSTALL)
    assert room.run("tail -n 1 /usr/local/bin/k3s") == "more\n"
    assert room.report("k3s") | {"status": "changed", "version": "v1.36.6+k3s1"} == room.report("k3s")


def test_a_release_that_is_not_there_yet_is_waited_for_and_the_report_says_why(room: Room) -> None:
    room.run("mv /releases /later")
    install = room.start(INSTALL)
    room.run("until grep -qs waiting /boot/firmware/pimu-report.json; do sleep 0.1; done")
    assert room.report("k3s")["reason"].startswith("cannot fetch file:///releases/v1.36.5%2Bk3s1/sha256sum-arm64.txt")
    room.run("mv /later /releases")
    assert install.wait(timeout=60) == 0
    assert room.report("k3s")["status"] == "changed"


def test_what_its_checksum_does_not_know_is_never_installed(room: Room) -> None:
    room.run("cp /releases/v*/k3s-arm64 /good; echo mischief >>/releases/v1.36.5+k3s1/k3s-arm64")
    install = room.start(INSTALL)
    room.run("until grep -qs waiting /boot/firmware/pimu-report.json; do sleep 0.1; done")
    assert "is not what its checksum says" in room.report("k3s")["reason"]
    room.run("! [ -e /usr/local/bin/k3s ] && ! [ -e /started ]")
    room.run("cp /good /releases/v1.36.5+k3s1/k3s-arm64")
    assert install.wait(timeout=60) == 0


def test_a_clock_that_nobody_sets_is_said_and_keeps_nobody_waiting_for_ever(room: Room) -> None:
    room.path("/clock").write_text("no\n")
    room.run(f"sed s/most_wait=120/most_wait=1/ {INSTALL} >/impatient; sh /impatient")
    assert room.report("k3s") | {"status": "degraded", "reason": "the clock was not set within 1 s"} == room.report(
        "k3s"
    )
    room.run("[ -x /usr/local/bin/k3s ]")


def test_a_kernel_that_does_not_count_memory_is_said(room: Room) -> None:
    room.run("echo cpuset cpu io pids >/sys/fs/cgroup/cgroup.controllers")
    room.run(INSTALL)
    assert room.report("k3s")["status"] == "degraded"
    assert "cgroup_memory=1 cgroup_enable=memory are missing" in room.report("k3s")["reason"]


@pytest.mark.parametrize("name", ["token", "agent-token"])
def test_a_server_without_its_tokens_makes_no_cluster_of_its_own(room: Room, name: str) -> None:
    room.run(f"rm /etc/rancher/k3s/{name}")
    install = room.start(INSTALL)
    room.run("until grep -qs waiting /boot/firmware/pimu-report.json; do sleep 0.1; done")
    assert room.report("k3s")["reason"].startswith("there is no token: flash the disk with pimu-build")
    room.run(f"! [ -e /started ]; echo secret >/etc/rancher/k3s/{name}")
    assert install.wait(timeout=60) == 0
    assert room.path("/started").exists()
