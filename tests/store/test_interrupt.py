"""Ctrl-C, a kill and a full disk in the middle of a real build leave nothing that the next one trips over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.build import Built
from builder.host.run import environment
from builder.store import upkeep
from tests.conftest import SHIPPED
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

WORKER = ("node-003", "--role", "worker", "--base", DEBIAN)


@pytest.fixture(scope="module")
def workshop(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds all but the guest's layer and disk and the golden image, sharing the bytes of the user's."""
    folder = tmp_path_factory.mktemp("workshop")
    root = upkeep.default_root()
    for kind in ("sha256", "layers", "accel"):
        shutil.copytree(root / kind, folder / "cache" / kind, copy_function=os.link)
    for layer in (folder / "cache/layers").glob("*/step.json"):
        if json.loads(layer.read_text())["inputs"].get("architecture") == "amd64":
            shutil.rmtree(layer.parent)
    return folder


def start(workshop: Path) -> subprocess.Popen[bytes]:
    words = [*WORKER, "--offline", "--jobs", "1", "--output", str(workshop / "output")]
    return subprocess.Popen(  # a shell's background jobs ignore SIGINT, and so would ours
        ["env", "--default-signal", sys.executable, "-m", "builder", *words],
        cwd=SHIPPED,
        env=environment({"PIMU_CACHE": str(workshop / "cache")}),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wait_for(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line.decode():
            return
    pytest.fail(f"the build ended before it said {text!r}")


def remains(workshop: Path) -> Iterator[str]:
    """Processes and mounts that know of the workshop, and files that are neither results nor kernel locks."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace") + os.readlink(folder / "cwd")  # noqa: PTH115
        except OSError:
            continue
        if str(workshop) in words:
            yield words
    yield from (line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(workshop) in line)
    yield from map(str, (workshop / "output").glob(".pimu-*"))
    yield from map(str, (workshop / "cache/work").glob("*"))


def settle(workshop: Path) -> list[str]:
    """The kernel needs a moment to take down the namespaces of the killed."""
    deadline = time.monotonic() + 10
    while (left := list(remains(workshop))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def test_interrupt_leaves_nothing(workshop: Path) -> None:
    process = start(workshop)
    wait_for(process, "configure")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == b""
    assert b"interrupted" in errors
    assert settle(workshop) == []


def test_kill_is_healed_and_the_image_is_the_same(workshop: Path, built: Built) -> None:
    process = start(workshop)
    wait_for(process, "configure")
    process.kill()
    process.wait()
    killed_in_bake = settle(workshop)
    workspaces = str(workshop / "cache/work")
    assert not [left for left in killed_in_bake if workspaces not in left]

    process = start(workshop)
    wait_for(process, "write the disk")
    process.kill()
    process.wait()

    process = start(workshop)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert settle(workshop) == []
    manifest = (workshop / "output/node-003.manifest.json").read_text()
    assert json.loads(manifest)["image"] == json.loads(built.manifest.read_text())["image"]


def test_full_disk_keeps_the_old_image(workshop: Path) -> None:
    """An output folder that is too small: refused before anything is written, exit 3."""
    small = workshop / "small"
    small.mkdir()
    old = b"an older image"
    script = 'mount -t tmpfs -o size=64m tmpfs "$0" && printf "%s" "$1" >"$0/node-003.img" && shift && "$@"; '
    script += 'status=$?; cat "$0/node-003.img"; ls -A "$0" >&2; exit $status'
    words = [sys.executable, "-m", "builder", *WORKER, "--offline", "--output", str(small)]
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, small, old.decode(), *words],
        cwd=SHIPPED,
        env=environment({"PIMU_CACHE": str(workshop / "cache")}),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 3, result.stderr.decode()
    assert result.stdout == old
    assert b"MiB free" in result.stderr
    assert b".tmp" not in result.stderr
