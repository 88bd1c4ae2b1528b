"""From the question to the last byte a disk stays the one that was confirmed, and nothing on it is lost unasked."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cli import disks as commands
from builder.flash import Shown, Wanted, flashed, guard
from builder.flash.survey import look, target_of
from builder.host.run import run
from tests.flash import test_flash
from tests.flash.test_flash import allocated, content, sha256
from tests.hostile_manifest import FILE
from tests.loop_device import blank, detach, loop_device
from tests.tiny_image import BOOT_START, ROOT_START, debugfs, make_image, manifest_of

pytestmark = pytest.mark.disk

DISK = 40 * 1024**2
SECRET = "a-token-for-one-disk-0123456789"
RECORD = {"cluster": "pimu", "node": "node-003"}
Run = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "output").mkdir(parents=True)
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return image_of(tmp_path / "images/node-003.img")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_device(blank(tmp_path / "disk", DISK)) as device:
        yield device


def image_of(image: Path, *folders: str, **manifest: object) -> Path:
    """An image of node-003 with these folders on its root volume."""
    image.parent.mkdir(exist_ok=True)
    make_image(image)
    run(["mcopy", "-i", f"{image}@@{BOOT_START}", "-", "::/pimu-id.json"], input=json.dumps(RECORD).encode())
    conf = image.with_suffix(".conf")
    conf.write_text("PIMU_NODE=node-003\n")
    debugfs(image, "mkdir /etc/pimu", f"write {conf} /etc/pimu/node.conf", *(f"mkdir {folder}" for folder in folders))
    text = json.loads(manifest_of(image).to_json())
    text["image"]["allocated"] = allocated(image)
    text["plan"] = {"settings": {"cluster": "pimu"}}
    image.with_suffix(".manifest.json").write_text(json.dumps(text | manifest))
    return image


@pytest.fixture
def flash(command_line: Run, project: Path) -> Run:
    def call(image: Path, device: Path, *words: str, size: int = DISK) -> int:
        expected = ("--expect-serial", str(size), "--project", str(project))
        return command_line("flash", str(image), str(device), *expected, *words)

    return call


@pytest.mark.parametrize("kind", ["a link", "a node of the device"])
def test_a_name_that_moves_at_the_question_gives_no_other_disk_the_secrets(
    kind: str, disk: Path, flash: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, given, name = (
        image_of(tmp_path / "images/node-003.img", pending=[FILE]),
        tmp_path / "given",
        tmp_path / "name",
    )
    given.touch(mode=0o600)
    given.write_text(SECRET)
    with loop_device(blank(tmp_path / "other", DISK)) as other:
        point(name, disk, kind)
        honest = commands._confirm

        def confirm(shown: Shown, **rest: Any) -> None:
            honest(shown, **rest)
            name.unlink()
            point(name, other, kind)

        monkeypatch.setattr(commands, "_confirm", confirm)
        assert flash(image, name, "--token-file", str(given)) == 0
        assert not content(other).strip(b"\0")
    said = run(["debugfs", "-R", "cat /etc/rancher/node/password", f"{disk}?offset={ROOT_START}"]).text
    assert said == f"{SECRET}\n"


def point(name: Path, device: Path, kind: str) -> None:
    if kind == "a link":
        name.symlink_to(device)
    else:
        os.mknod(name, 0o600 | 0o060000, device.stat().st_rdev)


@pytest.mark.parametrize("words", [(), ("--overwrite-existing",)])
def test_a_disk_of_large_sectors_is_refused_and_listed_so(
    words: tuple[str, ...], image: Path, flash: Run, tmp_path: Path, capsys: Output
) -> None:
    file = blank(tmp_path / "disk", DISK)
    made = subprocess.run(
        ["losetup", "--find", "--show", "--sector-size", "4096", file], capture_output=True, text=True, check=True
    )
    device = Path(made.stdout.strip())
    try:
        assert flash(image, device, *words) == 7
        assert "it has logical sectors of 4096 bytes" in capsys.readouterr().err
        assert [reason.kind for reason in guard.refusals(look(), target_of(device), Wanted())] == ["sector-size"]
        assert not content(device).strip(b"\0")
    finally:
        detach(device)


SERVER = ("/var", "/var/lib", "/var/lib/rancher", "/var/lib/rancher/k3s")
DATABASE = (*SERVER, "/var/lib/rancher/k3s/server", "/var/lib/rancher/k3s/server/db")
VOLUMES = (*SERVER, "/var/lib/rancher/k3s/storage")


@pytest.mark.parametrize(("folders", "said"), [(DATABASE, "database of the k3s cluster"), (VOLUMES, "volumes of pods")])
def test_a_servers_own_disk_is_not_given_up_unasked(
    folders: tuple[str, ...], said: str, disk: Path, image: Path, flash: Run, tmp_path: Path, capsys: Output
) -> None:
    ran = image_of(tmp_path / "ran/node-003.img", *folders)
    assert flash(ran, disk) == 0
    before = sha256(disk)
    capsys.readouterr()
    assert flash(image, disk) == 7
    assert f"it holds node-003's {said}" in capsys.readouterr().err
    assert sha256(disk) == before
    assert flash(image, disk, "--overwrite-existing") == 0


@pytest.mark.parametrize(("answer", "status"), [("node-003", 0), ("y", 7)])
def test_a_person_is_asked_once_more_for_a_servers_database(
    answer: str, status: int, disk: Path, image: Path, flash: Run, tmp_path: Path
) -> None:
    assert flash(image_of(tmp_path / "ran/node-003.img", *DATABASE), disk) == 0
    before = sha256(disk)
    ended, said = test_flash.TestPerson().answered(image, disk, str(DISK), answer)
    asked = "This disk holds node-003's database of the k3s cluster (/var/lib/rancher/k3s/server/db)"
    assert (ended, asked in said) == (status, True), said
    assert (sha256(disk) == before) == bool(status)


def test_a_server_that_has_never_run_needs_no_word(disk: Path, image: Path, flash: Run, tmp_path: Path) -> None:
    fresh = image_of(tmp_path / "fresh/node-003.img", *SERVER, "/var/lib/rancher/k3s/server")
    assert flash(fresh, disk) == 0
    assert flash(image, disk) == 0


def test_a_second_disk_of_one_node_is_said_before_the_question(
    image: Path, disk: Path, project: Path, flash: Run, tmp_path: Path, capsys: Output
) -> None:
    larger = DISK + 1024**2
    assert flash(image, disk) == 0
    assert "beware" not in capsys.readouterr().err
    assert flash(image, disk) == 0
    assert "beware" not in capsys.readouterr().err
    with loop_device(blank(tmp_path / "larger", larger)) as second:
        assert flash(image, second, size=larger) == 0
    assert f"beware    node-003 is also on a disk ({DISK}, " in capsys.readouterr().err
    lines = [json.loads(line) for line in (project / "output" / flashed.NAME).read_text().splitlines()]
    assert [(line["node"], line["serial"], line["size"]) for line in lines] == [
        ("node-003", str(DISK), DISK),
        ("node-003", str(DISK), DISK),
        ("node-003", str(larger), larger),
    ]
    assert lines[0]["image"] == manifest_of(image).image.digest


def test_lines_of_another_origin_are_passed_over(image: Path, disk: Path, project: Path, flash: Run) -> None:
    listed = project / "output" / flashed.NAME
    listed.write_text('{"date": 1}\n\x00\xff\nnull\n[[[[\n{"half": ')
    assert flash(image, disk) == 0
    *_, last = listed.read_text().splitlines()
    assert json.loads(last)["node"] == "node-003"


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "device"])
def test_a_list_that_leads_elsewhere_costs_no_disk_and_no_file(
    kind: str, image: Path, disk: Path, project: Path, flash: Run, tmp_path: Path, capsys: Output
) -> None:
    listed, precious = project / "output" / flashed.NAME, tmp_path / "precious"
    precious.write_text("of this machine")
    match kind:
        case "symlink":
            listed.symlink_to(precious)
        case "fifo":
            os.mkfifo(listed)
        case "folder":
            listed.mkdir()
        case _:
            os.mknod(listed, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    assert flash(image, disk) == 3
    assert f"{listed}: cannot be opened as the list of flashed disks" in capsys.readouterr().err
    assert precious.read_text() == "of this machine"
    assert not content(disk).strip(b"\0")


def test_a_folder_that_is_no_project_gets_no_list(image: Path, disk: Path, project: Path, flash: Run) -> None:
    (project / "output").rmdir()
    assert flash(image, disk) == 0
    assert not list(project.iterdir())
