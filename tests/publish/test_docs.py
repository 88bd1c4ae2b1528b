"""Pages for those who do not have pimu-build: each command on them does what it says, in a set that was published."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.build import BuildOptions, build
from builder.cli import main
from builder.fs.allocation import allocated
from builder.host.run import Result, run, which
from builder.image.forms import manifest_of
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from tests.conftest import SHIPPED, copy_shipped
from tests.fetch.test_signatures import make_key
from tests.planned import DEBIAN
from tests.publish.test_signing import minisign_key
from tests.workshop import flip

PAGE = (SHIPPED / "docs/artifacts.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [block for language, block in BLOCKS if language == "sh"]
MADE_BY_THE_READER = {"publisher.asc", "publisher.gpg", "publisher.pub"}


@pytest.fixture(scope="module")
def published(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`set` is signed twice, with both public keys beside it; `other` is as of another run; `disk` is not empty."""
    folder = tmp_path_factory.mktemp("published")
    project = copy_shipped(folder / "project")
    shutil.copy(locked, project)
    options = BuildOptions(
        output=folder / "output",
        cache=upkeep.default_root(),
        role="worker",
        base=DEBIAN,
        without_secrets=True,
        compression="zst",
    )
    build(Project(project), ["node-003"], options, Silent())
    key, secret = make_key(folder / "gpg", "publisher@example.org"), minisign_key(folder)
    words = ("--output", str(folder / "output"), "--project", str(project), "--quiet", "--url", "https://example.org")
    signed = ("--sign", key.fingerprint, "--minisign", str(secret))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(key.home))
        assert main(("publish", str(folder / "set"), *words, *signed)) == 0
    shutil.copytree(folder / "set", folder / "other", copy_function=os.link)
    _rewrite(folder / "other/set.intoto.jsonl")
    (folder / "set/publisher.asc").write_bytes(key.public())
    shutil.copy(secret.with_suffix(".pub"), folder / "set/publisher.pub")
    shutil.rmtree(folder / "output")
    (folder / "disk").write_bytes(b"something else" * 1000)
    return folder


def shell(block: str, folder: Path, *, check: bool = True, name: str = "set") -> Result:
    settings = {"HOME": str(folder), "DISK": str(folder / "disk"), "OTHER": str(folder / "other")}
    return run(["bash", "-euo", "pipefail", "-c", block], cwd=folder / name, env=settings, check=check)


@pytest.mark.disk
def test_every_command_of_the_page_works_in_a_published_set(published: Path) -> None:
    assert len(COMMANDS) == 9
    said = {block: shell(block, published).text for block in COMMANDS}

    listing = next(text for block, text in said.items() if ".packages[]" in block)
    assert re.search(r"^linux-image-\S+ \d", listing, re.MULTILINE)
    assert "busybox" in listing
    assert re.search(r"^[0-9a-f]{64} http\S+\.deb$", listing, re.MULTILINE)
    manifest = manifest_of(published / "set/node-003.img.zst")
    assert allocated(published / "disk", manifest.layout) == manifest.image.allocated


def _an_image(folder: Path) -> None:
    flip(folder / "node-003.img.zst")


def _the_sums(folder: Path) -> None:
    _rewrite(folder / "SHA256SUMS")


def _the_provenance(folder: Path) -> None:
    _rewrite(folder / "set.intoto.jsonl")


def _the_manifest(folder: Path) -> None:
    _rewrite(folder / "node-003.manifest.json")


def _rewrite(file: Path) -> None:
    """Other digests, in a file of its own: the undamaged set has this one, too."""
    text = re.sub("[0-9a-f]{64}", "0" * 64, file.read_text())
    file.unlink()
    file.write_text(text)


@pytest.mark.disk
@pytest.mark.parametrize(
    ("damage", "noticed_by"),
    [
        (_an_image, {"sha256sum --check", "zstd --test", "bmaptool", "jq -r '.subject", "diff --recursive"}),
        (_the_sums, {"gpg --show-keys", "minisign", "sha256sum --check"}),
        (_the_provenance, {"sha256sum --check", "jq -r '.subject"}),
        (_the_manifest, {"sha256sum --check", "jq -r '.subject", "diff --recursive", "diffoscope"}),
    ],
)
def test_what_was_changed_is_noticed(published: Path, damage: Callable[[Path], None], noticed_by: set[str]) -> None:
    changed = published / damage.__name__
    shutil.copytree(published / "set", changed, copy_function=os.link)
    damage(changed)
    quick = [block for block in COMMANDS if damage is _an_image or ".img" not in block]
    failed = {block for block in quick if shell(block, published, check=False, name=changed.name).returncode != 0}
    assert failed == {block for block in quick if block.startswith(tuple(noticed_by))}


@pytest.mark.disk
def test_the_page_names_every_file_of_a_set_and_no_other(published: Path) -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    patterns = {name.replace("NODE", "*") for row in rows for name in re.findall(r"`(.*?)`", row)}
    files = {path.name for path in (published / "set").iterdir()} - MADE_BY_THE_READER
    assert not [file for file in files if not any(fnmatch.fnmatch(file, pattern) for pattern in patterns)]
    unused = {pattern for pattern in patterns if not fnmatch.filter(files, pattern)}
    assert unused == {"*.img", "*.img.xz"}


def test_what_is_not_run_here_is_marked_as_such() -> None:
    others = [block for language, block in BLOCKS if language != "sh"]
    programs = {block.split()[0] for block in others}
    assert programs == {"rpi-imager"}
    assert which("rpi-imager") is None
