"""An image without secrets is published; the disk that it is flashed to has them, and nothing else does."""

from __future__ import annotations

import hmac
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.build import BuildOptions, Built, build
from builder.fs import ext4, fat
from builder.host.run import run
from builder.image.forms import manifest_of
from builder.model.k3s_ca import from_text, root_digest
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from tests.conftest import SHIPPED, copy_shipped
from tests.flash.test_flash import Run, is_the_disk_of
from tests.loop_device import blank, loop_device
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

DISK = 2400 * 1024**2
SEED = "/usr/share/pimu/guest/seed.img"
TOKEN = "canary-of-the-agents-0123456789"
HASH = "$6$canary$" + "0123456789abcdefghijklmnop".ljust(86, "x")
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an image of a worker without its secrets, and the files of all of them elsewhere."""
    project = copy_shipped(tmp_path_factory.mktemp("project"))
    shutil.copy(locked, project)
    cluster = project / "profiles/cluster.yaml"
    text = cluster.read_text().replace("  name: pimu\n", "  name: pimu\n  password: env:PIMU_PASSWORD\n")
    cluster.write_text(text)
    options = BuildOptions(
        output=project / "output",
        cache=upkeep.default_root(),
        role="worker",
        base=DEBIAN,
        compression="zst",
        without_secrets=True,
    )
    build(Project(project), ["node-003"], options, Silent())
    (project / "kept").mkdir()
    for name in ("k3s-token", "k3s-agent-token", "k3s-ca", "node-passwords"):
        (project / f"profiles/access/{name}").rename(project / "kept" / name)
    given = f"k3s-token: {full_token(project)}\npassword-hash: {HASH}\nnode-password: {node_password(project)}\n"
    for name, text in (("token", TOKEN), ("set.yaml", given)):
        (project / name).write_text(text)
        (project / name).chmod(0o600)
    return project


def full_token(folder: Path) -> str:
    """As an owner of the cluster hands it on: for its servers alone."""
    return f"K10{root_digest(from_text((folder / 'kept/k3s-ca').read_text()))}::node:{TOKEN}"


def node_password(folder: Path) -> str:
    key = (folder / "kept/node-passwords").read_bytes().strip()
    return hmac.digest(key, b"node-password/k3s-003", "sha256").hex()[:32]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_device(blank(tmp_path / "disk", DISK)) as device:
        yield device


def is_blank(device: Path) -> bool:
    """Its file is one hole still."""
    os.sync()
    (file,) = run(["losetup", "--noheadings", "--output", "BACK-FILE", device]).text.split()
    return Path(file).stat().st_blocks == 0


@pytest.fixture
def flash(folder: Path, command_line: Run) -> Run:
    words = ("--expect-serial", str(DISK), "--project", str(folder))
    return lambda what, device, *more: command_line("flash", str(what), str(device), *words, *more)


class Filled:
    """The content of a disk at the places of secrets."""

    def __init__(self, device: Path, manifest: Manifest, work: Path) -> None:
        self.device, self.start, self.work = device, manifest.layout.root_start, work

    def read(self, path: str) -> str:
        return ext4.read_files(self.device, self.start, [path.strip("/")], self.work)[0].decode()

    def seed(self, name: str) -> str:
        image = self.work / "seed.img"
        ext4.dump_files(self.device, self.start, {SEED.strip("/"): image})
        run(["fsck.vfat", "-n", image])
        return fat.read_file(image, 0, name).decode()


def test_an_image_without_secrets_holds_none_and_says_what_it_lacks(folder: Path) -> None:
    image = folder / "output/node-003.img.zst"
    manifest = manifest_of(image)
    assert [(pending.place, pending.path) for pending in manifest.pending] == [
        ("record", "/etc/shadow"),
        ("seed", SEED),
        ("seed", SEED),
    ]
    assert image.stat().st_mode & 0o777 == 0o644
    whole = run(["zstd", "-dc", image]).stdout
    for secret in ("k3s-token", "k3s-agent-token"):
        assert (SHIPPED / "profiles/access" / secret).read_bytes().strip() not in whole


def test_a_disk_gets_what_its_image_lacks(folder: Path, flash: Run, disk: Path, tmp_path: Path) -> None:
    image = folder / "output/node-003.img.zst"
    assert flash(image, disk, "--set", str(folder / "set.yaml")) == 0
    filled = Filled(disk, manifest_of(image), tmp_path)
    assert filled.seed("k3s-token") == f"{full_token(folder)}\n"
    assert filled.seed("k3s-node-password") == f"{node_password(folder)}\n"
    assert "#cloud-config" in filled.seed("user-data")
    shadow = dict(line.split(":", 1) for line in filled.read("/etc/shadow").splitlines())
    assert shadow["pimu"].startswith(f"{HASH}:")
    assert shadow["root"].startswith("*:")
    run(["e2fsck", "-fn", f"{disk}?offset={filled.start}"])
    status = run(["debugfs", "-R", f"stat {SEED}", f"{disk}?offset={filled.start}"]).text
    assert "Mode:  0640" in status
    table = json.loads(run(["sfdisk", "--json", disk]).stdout)["partitiontable"]
    assert len(table["partitions"]) == 2
    assert TOKEN.encode() not in (folder / "output/node-003.manifest.json").read_bytes()


def test_a_node_that_goes_straight_to_the_disk_is_its_image(
    folder: Path, flash: Run, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--role", "worker", "--base", DEBIAN, "--set", str(folder / "set.yaml"))
    assert flash("node-003", disk, *words) == 0
    assert {path.name for path in (folder / "output").iterdir()} <= {
        ".node-003.lock",
        ".gitignore",
        "node-003.img.zst",
        "node-003.manifest.json",
        "flashed.jsonl",
    }
    monkeypatch.setenv("PIMU_PASSWORD", HASH)
    access = folder / "profiles/access"
    for name in ("k3s-agent-token", "k3s-ca", "node-passwords"):
        shutil.copy(folder / "kept" / name, access)
    (access / "k3s-agent-token").write_text(TOKEN)
    try:
        options = BuildOptions(output=tmp_path / "output", cache=upkeep.default_root(), role="worker", base=DEBIAN)
        (made,) = build(Project(folder), ["node-003"], options, Silent())
    finally:
        for name in ("k3s-agent-token", "k3s-ca", "node-passwords"):
            (access / name).unlink()
    assert is_the_disk_of(disk, made.image)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (),
            "env:PIMU_PASSWORD: is a password-hash that the image lacks, and was not given\n  give it with --set FILE",
        ),
        (
            ("--set", "password.yaml"),
            "k3s-agent-token: is a k3s-token that the image lacks, and was not given\n  give it with --set",
        ),
        (
            ("--set", "both.yaml"),
            "node-passwords: is a node-passwords that the image lacks, and was not given\n  give it with --set FILE",
        ),
        (
            ("--set", "bare.yaml"),
            "k3s-ca: is a k3s-ca that the image lacks, and was not given\n  give the token",
        ),
        (("--set", "servers.yaml"), "k3s-agent-token: is the servers' token (K10...::server:...)"),
        (("--set", "two.yaml"), "two.yaml:1: wifi-key: is no secret that is wanted here\n  known: "),
        (("--set", "number.yaml"), "number.yaml:1: k3s-token: is not text"),
        (("--set", "open.yaml"), "open.yaml: is open to others"),
        (("--set", "password.yaml", "--token-file", "password.yaml"), "is not a k3s token"),
    ],
)
def test_what_is_missing_is_said_before_the_disk_is_touched(
    folder: Path, flash: Run, disk: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, words: tuple[str], said: str
) -> None:
    monkeypatch.chdir(folder)
    for name, text in (
        ("password.yaml", f"password-hash: {HASH}\n"),
        ("both.yaml", f"password-hash: {HASH}\nk3s-token: {full_token(folder)}\n"),
        ("bare.yaml", f"password-hash: {HASH}\nk3s-token: {TOKEN}\n"),
        ("servers.yaml", f"password-hash: {HASH}\nk3s-token: {full_token(folder).replace('node', 'server')}\n"),
        ("two.yaml", f"wifi-key: {TOKEN}\n"),
        ("number.yaml", "k3s-token: 17\n"),
        ("open.yaml", f"k3s-token: {TOKEN}\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644 if name == "open.yaml" else 0o600)
    assert flash("output/node-003.img.zst", disk, *words) == 3
    err = capsys.readouterr().err
    assert said in err
    assert TOKEN not in err
    assert is_blank(disk)


def test_secrets_for_an_image_that_has_its_own_are_refused(
    built: Built, folder: Path, flash: Run, disk: Path, capsys: Output
) -> None:
    assert flash(built.image, disk, "--token-file", str(folder / "token")) == 3
    assert "holds its secrets already, or needs none" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--role", "worker"), ("--offline",), ("--base", DEBIAN)])
def test_an_image_is_what_it_is(folder: Path, flash: Run, disk: Path, capsys: Output, words: tuple[str, ...]) -> None:
    assert flash(folder / "output/node-003.img.zst", disk, *words) == 2
    assert "are about a NODE" in capsys.readouterr().err


def test_a_disk_is_refused_before_a_node_is_built_for_it(
    folder: Path, command_line: Run, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMU_CACHE", str(tmp_path / "cache"))
    words = ("--role", "worker", "--base", DEBIAN, "--project", str(folder), "--set", str(folder / "set.yaml"))
    assert command_line("flash", "node-003", os.devnull, *words) == 7
    assert "is not overwritten, and nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def corrupt(disk: Path, offset: int) -> None:
    with disk.open("r+b", buffering=0) as file:
        found = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([found[0] ^ 1]), offset)
        os.fsync(file.fileno())


def extent_of(disk: Path, manifest: Manifest, path: str) -> int:
    """The offset on the disk of a file's last block, in bytes."""
    start = manifest.layout.root_start
    blocks = run(["debugfs", "-R", f"blocks {path}", f"{disk}?offset={start}"]).text.split()
    return start + int(blocks[-1]) * 4096


def test_a_disk_is_read_back_against_the_manifest_of_its_node(
    folder: Path, flash: Run, disk: Path, command_line: Run, capsys: Output
) -> None:
    image = folder / "output/node-003.img.zst"
    manifest = manifest_of(image)

    def verify() -> int:
        return command_line("verify", str(disk), "node-003", "--project", str(folder))

    disk.write_bytes(os.urandom(1024**2) * (DISK // 1024**2))
    assert flash(image, disk, "--set", str(folder / "set.yaml"), "--overwrite-existing") == 0
    assert verify() == 0, capsys.readouterr().err
    assert " were changed for its secrets, 2 file systems)" in capsys.readouterr().out
    corrupt(disk, extent_of(disk, manifest, "/usr/bin/qemu-system-x86_64"))
    assert verify() == 8
    err = capsys.readouterr().err
    assert "disk bytes " in err
