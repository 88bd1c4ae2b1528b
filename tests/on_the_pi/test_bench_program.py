"""pimu-bench, which is on the Pi and in its guest, by the shells and dd programs of both."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.planned import ROLES, pi_of, placeholder, plan_of

OVERLAYS = Path(__file__).parents[2] / "overlays"
PROGRAM = OVERLAYS / "features/bench/root/usr/bin/pimu-bench"


def with_programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which these programs are shell scripts."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "de_DE.UTF-8"}


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
@pytest.mark.parametrize("programs", ["own", "busybox"])
def test_the_seconds_are_told_beside_those_of_the_article(shell: str, programs: str, tmp_path: Path) -> None:
    replaced = {name: f'exec busybox {name} "$@"' for name in ("awk", "uname")} if programs == "busybox" else {}
    environment = with_programs(tmp_path, dd='echo "$@" >"${0%/*}/asked"; exec sleep 1.39', **replaced)
    done = subprocess.run([*shell.split(), PROGRAM], env=environment, check=True, capture_output=True)
    told = json.loads(done.stdout)
    assert (tmp_path / "asked").read_text() == "if=/dev/urandom of=/dev/null bs=2000000 count=100\n"
    assert told["machine"] == os.uname().machine
    assert told["article"] == {"pi": 2.784, "guest": 19.08}
    assert 1.38 <= told["seconds"] < 10
    ratios = {name: told["seconds"] / took for name, took in told["article"].items()}
    assert told["ratio"] == pytest.approx(ratios, abs=0.01)


@pytest.mark.parametrize("dd", ['exec busybox dd "$@"', 'exec /bin/dd "$@"'])
def test_it_measures_with_either_dd(dd: str, tmp_path: Path) -> None:
    done = subprocess.run(["sh", PROGRAM], env=with_programs(tmp_path, dd=dd), check=True, capture_output=True)
    assert 0 < json.loads(done.stdout)["seconds"] < 100


def test_a_dd_that_fails_is_no_measure(tmp_path: Path) -> None:
    done = subprocess.run(["sh", PROGRAM], env=with_programs(tmp_path, dd="exit 1"), check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("role", ROLES)
def test_it_is_on_the_pi_and_the_same_in_the_guest(role: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, role=role)
    entry = pi_of(plan, secrets=placeholder).entry("/usr/bin/pimu-bench")
    assert entry is not None
    assert (entry.read(), entry.mode) == (PROGRAM.read_bytes(), 0o755)
    if plan.guest_disk is not None:
        (inside,) = (edit for edit in plan.guest_disk.edits if edit.path == "/usr/bin/pimu-bench")
        assert getattr(inside, "content", b"") == PROGRAM.read_bytes()
