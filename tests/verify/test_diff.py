"""`pimu-build diff` names what differs and nothing else, between images, manifests and plans in any mixture."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.fs.chunks import digests
from builder.host.run import run
from builder.model.manifest import DiskFacts, FileState, ImageFacts, Manifest, image_digest
from builder.plan import as_data, to_json
from builder.verify.differences import Difference, compare, side_of, to_lines
from tests.planned import plan_of
from tests.workshop import flip

DEB = {"name": "nano", "version": "8.4-1", "architecture": "arm64", "archive": "http://a", "path": "n.deb", "size": 5}
LOCK = {"debian-trixie arm64": {"request": "{}", "epoch": 7, "essential": [], "debs": [{**DEB, "sha256": "a" * 64}]}}
CHUNKS = ("1" * 64, "2" * 64, "3" * 64)


def manifest_of(folder: Path, **changes: Any) -> Manifest:
    """The manifest of a worker whose image has three chunks and two files."""
    plan = plan_of(folder)
    whole: dict[str, Any] = {
        "node": "node-003",
        "image": image_of(CHUNKS),
        "layout": DiskFacts(boot_start=4096, boot_size=4096, root_start=8192, root_size=4096, disk_id="0x0000beef"),
        "files": (file_of("/etc/hostname", sha256="b" * 64), file_of("/etc/motd", feature="quiet")),
        "plan": as_data(plan),
        "lock": LOCK,
    }
    return Manifest(**{**whole, **changes})


def image_of(chunks: tuple[str, ...]) -> ImageFacts:
    size = 4194304 * len(chunks)
    return ImageFacts(size=size, chunk_size=4194304, digest=image_digest(chunks), chunks=chunks, allocated=((0, 4096),))


def file_of(path: str, **facts: Any) -> FileState:
    default = {"volume": "root", "type": "file", "mode": 0o644, "uid": 0, "gid": 0, "sha256": "c" * 64, "size": 9}
    return FileState(**{**default, "path": path, "feature": "hostname", "origin": "n.yaml:1", **facts})


def differences(a: str, b: str) -> list[Difference]:
    return list(compare(side_of(a, "a"), side_of(b, "b")).differences)


def told(a: Manifest, b: Manifest) -> list[str]:
    return list(to_lines(compare(side_of(a.to_json(), "a"), side_of(b.to_json(), "b"))))


def test_an_image_is_like_itself_and_like_its_plan(shipped_folder: Path) -> None:
    image, plan = manifest_of(shipped_folder).to_json(), to_json(plan_of(shipped_folder))
    assert differences(image, image) == differences(plan, plan) == differences(image, plan) == []


def test_the_same_asked_for_in_another_line_is_no_difference(shipped_folder: Path) -> None:
    whole = manifest_of(shipped_folder)
    plan = plan_of(shipped_folder)
    moved = replace(plan, edits=tuple(replace(edit, origin="elsewhere:9", feature="other") for edit in plan.edits))
    files = tuple(file.model_copy(update={"origin": "elsewhere:9"}) for file in whole.files)

    assert told(whole, manifest_of(shipped_folder, files=files, plan=as_data(moved))) == []
    assert differences(to_json(plan), to_json(moved)) == []


def test_a_file_is_told_with_what_of_it_differs_and_who_asked(shipped_folder: Path) -> None:
    files = (file_of("/etc/hostname", sha256="d" * 64, mode=0o600, gid=900), file_of("/etc/new", origin="r.yaml:5"))
    assert told(manifest_of(shipped_folder), manifest_of(shipped_folder, files=files)) == [
        "file       root:/etc/hostname: gid 0 -> 900  [hostname]  n.yaml:1",
        "file       root:/etc/hostname: mode 0644 -> 0600  [hostname]  n.yaml:1",
        "file       root:/etc/hostname: sha256 bbbbbbbbbbbb… -> dddddddddddd…  [hostname]  n.yaml:1",
        'file       root:/etc/motd: is {"gid": 0, "mode": "0644", "sha256": "cccccc …, only in A  [quiet]  n.yaml:1',
        'file       root:/etc/new: is {"gid": 0, "mode": "0644", "sha256": "cccccc …, only in B  [hostname]  r.yaml:5',
    ]


def test_a_lock_is_told_by_package(shipped_folder: Path) -> None:
    newer = {**DEB, "version": "8.4-2", "sha256": "e" * 64}
    vim = {**DEB, "name": "vim", "sha256": "f" * 64}
    rebuilt = {**DEB, "sha256": "9" * 64}
    whole, (name, locked) = manifest_of(shipped_folder), *LOCK.items()

    def with_debs(*debs: dict[str, Any]) -> Manifest:
        return manifest_of(shipped_folder, lock={name: {**locked, "debs": list(debs)}})

    assert told(whole, with_debs(newer, vim)) == [
        "lock       debian-trixie arm64: nano:arm64: is 8.4-1 -> 8.4-2",
        "lock       debian-trixie arm64: vim:arm64: is 8.4-1, only in B",
    ]
    assert told(whole, with_debs(rebuilt)) == [
        "lock       debian-trixie arm64: nano:arm64: is aaaaaaaaaaaa… -> 999999999999…"
    ]
    assert told(whole, manifest_of(shipped_folder, lock={})) == ["lock       debian-trixie arm64: is locked, only in A"]


def test_partitions_and_chunks_are_compared(shipped_folder: Path) -> None:
    grown = image_of(("1" * 64, "9" * 64, "3" * 64, "4" * 64))
    layout = DiskFacts(boot_start=4096, boot_size=4096, root_start=8192, root_size=8192, disk_id="0x0000beef")
    lines = told(manifest_of(shipped_folder), manifest_of(shipped_folder, image=grown, layout=layout))
    assert lines[0] == "partition  disk: root_size 4096 -> 8192"
    assert lines[-2:] == ["image      image: size 12582912 -> 16777216", "image      2 of 4 chunks differ"]


def test_plans_are_compared_by_settings_packages_edits_and_seed(project_folder: Path) -> None:
    old = to_json(plan_of(project_folder))
    node = "swap: {size: 32GiB}\npackages: {htop: true}\nguest_hostname: pods\n"
    found = differences(old, to_json(plan_of(project_folder, node=node)))

    assert ("settings.swap", "size", 64 << 30, 32 << 30) in [(one.where, one.what, one.a, one.b) for one in found]
    assert [(one.where, one.a, one.b) for one in found if one.kind == "package"] == [("htop", None, "wanted")]
    assert {one.where for one in found if one.kind == "seed"} >= {"meta-data"}
    edited = [one for one in found if one.kind == "edit"]
    assert edited
    assert all(one.asked.startswith("[") for one in edited)
    assert not {one.kind for one in found} - {"setting", "package", "edit", "seed"}


@pytest.fixture
def image(project_folder: Path, tmp_path: Path) -> Path:
    """One whose manifest is beside it, and true."""
    file = tmp_path / "node-003.img"
    file.write_bytes(b"boot")
    os.truncate(file, 3 * 4194304)
    whole = manifest_of(project_folder, image=image_of(tuple(digests(file))))
    file.with_suffix(".manifest.json").write_text(whole.to_json())
    return file


def test_the_command_ends_with_1_for_a_difference_and_with_0_for_none(
    image: Path,
    project_folder: Path,
    tmp_path: Path,
    command_line: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = tmp_path / "plan"
    plan.write_text(to_json(plan_of(project_folder)))

    assert command_line("diff", str(image), str(plan), "--quiet") == 0
    assert capsys.readouterr() == (f"{image} and {plan}: no difference\n", "")
    assert command_line("diff", str(image), str(plan), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "same": True,
        "differences": [],
        "chunks": 0,
        "all_chunks": 0,
        "behind": [],
    }

    plan.write_text(to_json(plan_of(project_folder, node="hostname: other\n")))
    assert command_line("diff", str(image), str(plan), "--json") == 1
    data = json.loads(capsys.readouterr().out)
    assert not data["same"]
    assert {"settings"} <= {one["where"] for one in data["differences"]}


Alter = Callable[[Path], object]


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: flip(image, 0.9),
        lambda image: os.truncate(image, 2 * 4194304),
        lambda image: os.truncate(image, 4 * 4194304),
        lambda image: image.write_bytes(b""),
    ],
    ids=["a bit", "shorter", "longer", "empty"],
)
@pytest.mark.parametrize("side", ["A", "B", "both"])
def test_an_image_that_was_altered_is_never_called_the_same(
    side: str, alter: Alter, image: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = image.with_suffix(".manifest.json")
    alter(image)
    words = {"A": (image, manifest), "B": (manifest, image), "both": (image, image)}[side]
    assert command_line("diff", *map(str, words), "--json") == 8
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{image}: does not agree with the manifest beside it" in err


@pytest.mark.disk
def test_a_compressed_image_is_read_too(
    image: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    packed = image.with_suffix(".img.zst")
    run(["zstd", "-q", image, "-o", packed])
    assert command_line("diff", str(packed), str(image)) == 0
    flip(image)
    run(["zstd", "-q", "-f", image, "-o", packed])
    assert command_line("diff", str(packed), str(image.with_suffix(".manifest.json"))) == 8
    assert f"{packed}: does not agree with the manifest beside it" in capsys.readouterr().err


def test_other_chunks_are_a_difference_whatever_the_digest_says(shipped_folder: Path) -> None:
    whole = manifest_of(shipped_folder)
    forged = whole.image.model_copy(update={"chunks": ("1" * 64, "2" * 64, "9" * 64)})
    found = compare(side_of(whole.to_json(), "a"), side_of(manifest_of(shipped_folder, image=forged).to_json(), "b"))
    assert (found.differences, found.chunks, found.same) == ((), 1, False)
