"""A published set is whole, proved, without secrets, and checked by a stranger's tools alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builder.build import BuildOptions, Built, build
from builder.fetch.cache import sha256_of
from builder.fs.allocation import allocated
from builder.host.run import run
from builder.image.forms import manifest_of
from builder.model.manifest import ImageFacts
from builder.model.progress import Silent
from builder.project import Project
from builder.publish.bmap import block_map
from builder.store import upkeep
from tests.conftest import copy_shipped
from tests.fetch.test_signatures import make_key
from tests.planned import DEBIAN
from tests.publish.test_signing import damaged, minisign_key
from tests.workshop import flip

pytestmark = pytest.mark.disk

NODES = ("node-003", "node-004")
Publish = Callable[..., int]


@pytest.fixture(scope="module")
def folder(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with compressed images of two nodes, without their secrets."""
    project = copy_shipped(tmp_path_factory.mktemp("project"))
    shutil.copy(locked, project)
    for node in NODES:
        (project / f"profiles/nodes/{node}.yaml").write_text("role: worker\n")
    options = BuildOptions(
        output=project / "output", cache=upkeep.default_root(), base=DEBIAN, compression="zst", without_secrets=True
    )
    build(Project(project), NODES, options, Silent())
    return project


@pytest.fixture
def publish(folder: Path, command_line: Callable[..., int]) -> Publish:
    return lambda to, *words: command_line("publish", str(to), *words, "--project", str(folder), "--quiet")


@pytest.mark.soak
def test_a_set_is_checked_with_the_tools_of_any_linux(
    folder: Path, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path / "gpg", "publisher@example.org")
    monkeypatch.setenv("GNUPGHOME", str(key.home))
    to = tmp_path / "set"
    secret = minisign_key(tmp_path)
    signed = ("--sign", key.fingerprint, "--minisign", str(secret))
    assert publish(to, "--url", "https://example.org/set", *signed) == 0

    of_each = ("bmap", "img.zst", "manifest.json", "spdx.json")
    names = {f"{node}.{suffix}" for node in NODES for suffix in of_each}
    unsummed = {"SHA256SUMS", "SHA256SUMS.asc", "SHA256SUMS.minisig"}
    names |= {*unsummed, "os_list.json", "set.intoto.jsonl"}
    assert {path.name for path in to.iterdir()} == names
    run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=to)
    assert len((to / "SHA256SUMS").read_text().splitlines()) == len(names) - len(unsummed)
    run(["gpg", "--homedir", key.home, "--verify", to / "SHA256SUMS.asc", to / "SHA256SUMS"])
    run(["minisign", "-V", "-p", secret.with_suffix(".pub"), "-m", to / "SHA256SUMS"])

    disk, manifest = tmp_path / "disk", manifest_of(to / "node-004.img.zst")
    run(["bmaptool", "copy", "--bmap", to / "node-004.bmap", to / "node-004.img.zst", disk])
    assert allocated(disk, manifest.layout) == manifest.image.allocated
    listed = {entry["name"]: entry for entry in json.loads((to / "os_list.json").read_text())["os_list"]}
    assert listed["node-004"]["url"] == "https://example.org/set/node-004.img.zst"
    assert listed["node-004"]["image_download_sha256"] == sha256_of(to / "node-004.img.zst")
    whole = run(["zstd", "-dc", to / "node-004.img.zst"]).stdout
    assert listed["node-004"]["extract_size"] == len(whole)
    told = json.loads((to / "set.intoto.jsonl").read_text())
    assert {subject["name"] for subject in told["subject"]} == names - unsummed - {"set.intoto.jsonl"}

    again = tmp_path / "again"
    assert publish(again, "--url", "https://example.org/set") == 0
    different = {path.name for path in again.iterdir() if sha256_of(path) != sha256_of(to / path.name)}
    assert different == {"SHA256SUMS", "set.intoto.jsonl"}


def test_an_image_with_a_secret_is_refused(
    built: Built, publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(tmp_path / "set", "--output", str(built.image.parent)) == 3
    said = capsys.readouterr().err
    assert "node-003.img: holds secrets, and must not be published: file:profiles/access/k3s-agent-token" in said
    assert not list(tmp_path.iterdir())


def test_an_image_that_is_not_what_its_manifest_says_is_refused(
    folder: Path, publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    shutil.copytree(folder / "output", output)
    image = output / "node-003.img.zst"
    flip(image)
    status = publish(tmp_path / "set", "node-003", "--output", str(output))
    assert (status in (4, 8), f"error: {image}: " in (said := capsys.readouterr().err)) == (True, True), said
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_an_image_that_a_build_replaces_meanwhile_is_proved_as_it_is_published(
    folder: Path, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    shutil.copytree(folder / "output", output)

    def while_a_build_ends(facts: ImageFacts, sums: Sequence[str]) -> str:
        shutil.copyfile(output / "node-004.img.zst", output / "new")
        (output / "new").rename(output / "node-003.img.zst")
        return block_map(facts, sums)

    monkeypatch.setattr("builder.publish.collect.block_map", while_a_build_ends)
    assert publish(tmp_path / "set", "node-003", "--output", str(output)) == 0
    assert sha256_of(tmp_path / "set/node-003.img.zst") == sha256_of(folder / "output/node-003.img.zst")


@pytest.mark.parametrize("option", ["--sign", "--minisign"])
def test_a_signer_that_fails_leaves_what_was_there_and_nothing_else(
    publish: Publish, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(make_key(tmp_path / "gpg", "publisher@example.org").home))
    (tmp_path / "sets/of yesterday").mkdir(parents=True)
    key = damaged(minisign_key(tmp_path)) if option == "--minisign" else "nobody@example.org"
    assert publish(tmp_path / "sets/of today", "node-003", option, str(key)) == 1
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["of yesterday"]


@pytest.mark.parametrize(("words", "said"), [(("node-009",), "has no image of node-009"), ((), "is there already")])
def test_what_cannot_be_a_new_set_is_said(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "set").mkdir()
    assert publish(tmp_path / "set", *words) == 3
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "set").iterdir())
