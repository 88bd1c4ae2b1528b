"""The output folder holds whole images only: those of before until the moment that the new ones are there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BusyError, ConfigurationError, DamagedError, DownloadError
from builder.fetch.cache import sha256_of
from builder.fs import chunks, ext4, fat, mbr
from builder.fs.tree import Entry, Tree
from builder.host.run import run
from builder.image import frames
from builder.image.forms import Compression, manifest_of, raw
from builder.image.frames import golden_frames
from builder.image.golden import Golden, make_golden
from builder.image.output import locked, node_image, prepare_folder
from builder.limits import MIB
from builder.model.edits import PatchText, WriteFile, WriteSecret
from builder.model.layer import BOOT_TAR, ROOT_TAR
from builder.model.manifest import Manifest, image_digest
from builder.model.patches import Record, SecretRef, Substitute
from builder.model.plan import Plan
from builder.model.progress import Silent
from builder.secrets.resolve import Secrets
from builder.store.products import Store
from tests.making import step
from tests.planned import plan_of
from tests.target import unpack_ext4
from tests.workshop import flip

EPOCH = 1_700_000_000
HASH = "$y$j9T$salt$" + "secret".ljust(43, "x")
TOKEN = "canary-0123456789abcdef"
ROOT = Path(__file__).parents[2]
ASKED: dict[str, Any] = {"volume": "root", "scope": "node", "feature": "hostname", "origin": "profiles/cluster.yaml:1"}
BLOB, ZEROS = b"data" * 5000, bytes(16384) + b"end"
CONFIG, OTHER_CONFIG = b"arm_64bit=1\n", bytes(2048) + b"arm_64bit=0\n"
HOLD = """
import sys
from pathlib import Path
from builder.image.output import locked
with locked(Path(sys.argv[1]), ["node-003"]):
    print("locked", flush=True)
    sys.stdin.readline()
"""
NO_ROOM = """
import subprocess, sys
from pathlib import Path
from builder.image.golden import Golden
from builder.errors import DiskFullError
from builder.image.output import node_image
from builder.secrets.resolve import Secrets
from tests.planned import plan_of

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", output], check=True)
golden = Golden(folder, "", {}, {}, 0, 0, [], {})
try:
    node_image(plan_of(folder), golden, output=output, secrets=Secrets(folder), sha256=False, frames=None)
except DiskFullError as full:
    print(full, len(list(output.iterdir())), sep="\\n")
"""


# The folder -----------------------------------------------------------------------------------------------------------


def test_the_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a/b")
    prepare_folder(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []


@pytest.mark.parametrize("where", ["/sys/kernel", "/proc/nowhere", "{file}", "{file}/below"])
def test_a_folder_that_cannot_be_written_is_said(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = Path(where.format(file=tmp_path / "file"))
    with pytest.raises(ConfigurationError) as caught:
        prepare_folder(output)
    assert str(caught.value).startswith(f"{output}: cannot be written: ")
    assert caught.value.hint == "name another folder with --output"


def test_a_second_build_of_a_node_is_told_and_another_node_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(BusyError, match="another build is writing node-003") as caught:
            locked(tmp_path, ["node-002", "node-003"]).__enter__()
        assert caught.value.exit_code == 6
        with locked(tmp_path, ["node-002"]):
            pass
        other.kill()
    with locked(tmp_path, ["node-002", "node-003"]):
        pass


def test_what_killed_builds_have_left_is_cleared_away_by_node(tmp_path: Path) -> None:
    names = [f".pimu-{node}-0123456789abcdef.tmp" for node in ("node", "node-3", "node-0123456789abcdef")]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.img").touch()
    with locked(tmp_path, ["node"]):
        assert sorted(path.name for path in tmp_path.glob("*.tmp")) == sorted(names[1:])


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(shipped_folder: Path) -> Plan:
    """A node that differs from its golden image by a file, two secrets and its disk id."""
    shipped = plan_of(shipped_folder)
    edits = (
        WriteFile(path="/etc/hostname", content=b"node-003\n", **ASKED),
        PatchText(path="/etc/shadow", patch=Record(("pimu", SecretRef("file:hash"))), **ASKED),
        WriteSecret(path="/etc/k3s/token", secret=SecretRef("file:token", "k3s-token"), **ASKED),
    )
    layout = replace(shipped.layout, boot_size=64 * MIB, root_start=72 * MIB, root_margin=128 * MIB)
    return replace(shipped, base_edits=(), edits=edits, seed=(), layout=layout)


@pytest.fixture(scope="module")
def golden(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    store = Store(tmp_path_factory.mktemp("cache"))
    root, boot = Tree(EPOCH), Tree(EPOCH)
    root.entries |= {
        "etc": Entry("dir", 0o755),
        "etc/shadow": Entry.of_bytes(b"root:*\n", EPOCH, 0o640, 0, 42),
        "etc/blob": Entry.of_bytes(BLOB, EPOCH),
    }
    boot.entries["config.txt"] = Entry.of_bytes(CONFIG, EPOCH)

    def write(fresh: Path) -> None:
        root.write_tar(fresh / ROOT_TAR)
        boot.write_tar(fresh / BOOT_TAR)

    layer = store.make(step("layers"), write)
    return make_golden(plan, [layer], [], epoch=EPOCH, store=store, progress=Silent())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with the secrets in it, and a folder for the output."""
    for name, secret in (("hash", HASH), ("token", TOKEN)):
        (tmp_path / name).write_text(f"{secret}\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "output").mkdir()
    return tmp_path


def publish(
    plan: Plan, golden: Golden, project: Path, *, sha256: bool = False, compression: Compression | None = None
) -> bool:
    """Whether the output of the project has changed."""
    output = project / "output"
    frames = compression and golden_frames(golden, compression, Store(project / "cache"), Silent())
    image, manifest, changed = node_image(
        plan, golden, output=output, secrets=Secrets(project), sha256=sha256, frames=frames
    )
    form = f".{compression}" if compression else ""
    assert (image, manifest) == (output / f"node-003.img{form}", output / "node-003.manifest.json")
    return changed


def contents(project: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in (project / "output").iterdir()}


@pytest.mark.disk
def test_a_secret_is_in_the_image_for_root_alone_and_in_nothing_else(
    plan: Plan, golden: Golden, project: Path, tmp_path: Path
) -> None:
    publish(plan, golden, project)
    image = project / "output/node-003.img"
    unpack_ext4(image, plan.layout.root_start, tmp_path / "tree")
    token = tmp_path / "tree/etc/k3s/token"
    assert token.read_text() == f"{TOKEN}\n"
    assert token.stat().st_mode & 0o777 == 0o600
    others = [path for path in (*golden.folder.rglob("*"), *(project / "output").glob("*.json")) if path.is_file()]
    assert others
    assert not [path for path in others if TOKEN.encode() in path.read_bytes()]


@pytest.mark.disk
def test_an_image_comes_with_its_manifest_and_once(plan: Plan, golden: Golden, project: Path) -> None:
    assert publish(plan, golden, project, sha256=True)
    first = contents(project)
    assert set(first) == {"node-003.img", "node-003.manifest.json", "node-003.img.sha256"}

    image = project / "output/node-003.img"
    manifest = Manifest.from_json((project / "output/node-003.manifest.json").read_text(), "manifest")
    assert list(manifest.image.chunks) == chunks.digests(image)
    assert manifest.image.digest == image_digest(manifest.image.chunks)
    assert manifest.layout.disk_id == f"0x{plan.identity.disk_id:08x}"
    assert {file.path: file.sha256 for file in manifest.files} == {
        "/etc/hostname": hashlib.sha256(b"node-003\n").hexdigest(),
        "/etc/shadow": hashlib.sha256(f"root:*\npimu:{HASH}\n".encode()).hexdigest(),
        "/etc/k3s/token": hashlib.sha256(f"{TOKEN}\n".encode()).hexdigest(),
    }
    assert image.stat().st_mode & 0o077 == 0
    assert (project / "output/node-003.img.sha256").read_text() == f"{first['node-003.img']}  node-003.img\n"

    before = image.stat().st_ino
    assert not publish(plan, golden, project)
    assert contents(project) == first
    assert image.stat().st_ino == before


@pytest.mark.disk
def test_the_image_is_what_edits_of_a_whole_copy_would_make(plan: Plan, golden: Golden, project: Path) -> None:
    """Zeros in the place of data: a delta that took them for holes would leave the data there."""
    edits = (
        WriteFile(path="/etc/blob", content=ZEROS, **ASKED),
        WriteFile(path="/config.txt", content=OTHER_CONFIG, **{**ASKED, "volume": "boot"}),
    )
    publish(replace(plan, edits=edits), golden, project)

    whole, work = project / "whole.img", project / "work"
    work.mkdir()
    run(["cp", golden.image, whole])
    blob, config = (
        [(name, Entry.of_bytes(old, EPOCH), Entry.of_bytes(new, EPOCH))]
        for name, old, new in (("etc/blob", BLOB, ZEROS), ("config.txt", CONFIG, OTHER_CONFIG))
    )
    ext4.edit(whole, plan.layout.root_start, blob, work, EPOCH)
    fat.edit(whole, plan.layout.boot_start, config, work, EPOCH)
    mbr.write_disk_id(whole, plan.identity.disk_id)
    assert sha256_of(project / "output/node-003.img") == sha256_of(whole)
    assert ext4.read_files(whole, plan.layout.root_start, ["etc/blob"], work) == [ZEROS]


@pytest.mark.disk
def test_a_damaged_image_is_made_again(plan: Plan, golden: Golden, project: Path) -> None:
    publish(plan, golden, project)
    before = contents(project)
    with (project / "output/node-003.img").open("r+b") as file:
        file.seek(80 * MIB)
        file.write(b"damage")
    assert publish(plan, golden, project)
    assert contents(project) == before


@pytest.mark.disk
def test_another_image_takes_the_old_sum_away(plan: Plan, golden: Golden, project: Path) -> None:
    publish(plan, golden, project, sha256=True)
    other = replace(plan, edits=plan.edits[:1])
    assert publish(other, golden, project)
    assert set(contents(project)) == {"node-003.img", "node-003.manifest.json"}


@pytest.mark.disk
def test_a_build_that_fails_leaves_the_old_image_and_nothing_else(plan: Plan, golden: Golden, project: Path) -> None:
    publish(plan, golden, project)
    before = contents(project)
    impossible = PatchText(path="/etc/hostname", patch=Substitute("^no-such-line$", ""), **ASKED)
    with pytest.raises(ConfigurationError, match="nothing matches"):
        publish(replace(plan, edits=(*plan.edits, impossible)), golden, project)
    (project / "hash").unlink()
    with pytest.raises(ConfigurationError, match=r"hash: cannot be read: No such file"):
        publish(plan, golden, project)
    assert contents(project) == before


@pytest.mark.disk
@pytest.mark.parametrize("secret", ["", "\n", "opensesame", "$6$salt$a:0:", "$6$salt$a\nroot::0:"])
def test_what_is_no_hash_opens_no_account(plan: Plan, golden: Golden, project: Path, secret: str) -> None:
    (project / "hash").write_text(secret)
    with pytest.raises(ConfigurationError, match="file:hash: is not a password's hash") as caught:
        publish(plan, golden, project)
    assert not secret.strip() or secret.strip() not in str(caught.value)
    assert contents(project) == {}


@pytest.mark.disk
def test_a_folder_without_room_is_said_before_anything_is_written(project_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "small"
    output.mkdir()
    (project_folder / "disk.img").write_bytes(b"x" * 3 * MIB)
    program = (sys.executable, "-c", NO_ROOM, project_folder, output)
    said = run(["unshare", "--mount", "--map-root-user", *program], env={"PYTHONPATH": str(ROOT)}).text.splitlines()
    assert said == [
        f"{output}: has 1 MiB free, and an image takes 67 MiB",
        "  make room, or name another folder with --output",
        "0",
    ]


# Compressed -----------------------------------------------------------------------------------------------------------

UNPACK = {"zst": "zstd", "xz": "xz"}


@pytest.mark.disk
@pytest.mark.parametrize("compression", ["zst", "xz"])
def test_a_compressed_image_is_the_image_to_every_tool_and_comes_once(
    plan: Plan, golden: Golden, project: Path, compression: Compression
) -> None:
    assert publish(plan, golden, project, compression=compression, sha256=True)
    first = contents(project)
    packed = project / f"output/node-003.img.{compression}"
    assert set(first) == {packed.name, f"{packed.name}.sha256", "node-003.manifest.json"}
    assert packed.stat().st_mode & 0o077 == 0
    assert packed.stat().st_size < golden.image.stat().st_size / 20
    run([UNPACK[compression], "--test", "--quiet", packed])
    unpacked = run([UNPACK[compression], "-dc", packed]).stdout

    assert not publish(plan, golden, project, compression=compression)
    assert contents(project) == first
    with raw(packed, manifest_of(packed).image, Store(project / "cache"), Silent()) as image:
        assert image.read_bytes() == unpacked
    assert publish(plan, golden, project)
    assert (project / "output/node-003.img").read_bytes() == unpacked
    assert contents(project) == first | {"node-003.img": hashlib.sha256(unpacked).hexdigest()}


@pytest.mark.disk
@pytest.mark.parametrize("compression", ["zst", "xz"])
def test_a_further_node_compresses_the_chunks_that_its_stamp_touched(
    plan: Plan, golden: Golden, project: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(plan, golden, project, compression=compression)
    first = manifest_of(project / "output/node-003.img").image.chunks
    compressed: list[int] = []
    honest = frames._compress

    def counting(chunk: bytes, how: Compression) -> bytes:
        compressed.append(len(chunk))
        return honest(chunk, how)

    monkeypatch.setattr(frames, "_compress", counting)
    renamed = WriteFile(path="/etc/hostname", content=b"node-004\n", **ASKED)
    publish(replace(plan, edits=(renamed, *plan.edits[1:])), golden, project, compression=compression)
    second = manifest_of(project / "output/node-003.img").image.chunks
    stamped = [number for number, chunk in enumerate(second) if chunk != golden.chunks[number]]
    assert len(compressed) == len(stamped) < len(second) / 4
    assert {number for number, chunk in enumerate(second) if chunk != first[number]} <= set(stamped)


@pytest.mark.disk
def test_a_compressed_image_is_the_same_wherever_it_is_made(plan: Plan, golden: Golden, project: Path) -> None:
    publish(plan, golden, project, compression="zst")
    first = contents(project)
    run(["rm", "-r", project / "output", project / "cache"])
    (project / "output").mkdir()
    publish(plan, golden, project, compression="zst")
    assert contents(project) == first


@pytest.mark.disk
def test_another_image_takes_the_old_ones_other_forms_away(plan: Plan, golden: Golden, project: Path) -> None:
    publish(plan, golden, project, sha256=True)
    publish(plan, golden, project, compression="zst", sha256=True)
    assert len(contents(project)) == 5
    publish(replace(plan, edits=plan.edits[:1]), golden, project, compression="xz")
    assert set(contents(project)) == {"node-003.img.xz", "node-003.manifest.json"}


@pytest.mark.disk
def test_a_golden_image_that_the_disk_has_changed_is_not_compressed(
    plan: Plan, golden: Golden, project: Path, tmp_path: Path
) -> None:
    run(["cp", "-r", golden.folder, tmp_path / golden.folder.name])
    damaged = replace(golden, folder=tmp_path / golden.folder.name)
    flip(damaged.image)
    with pytest.raises(DamagedError, match=str(damaged.folder)):
        publish(plan, damaged, project, compression="zst")
    assert contents(project) == {}


@pytest.mark.disk
def test_a_compressed_image_that_is_cut_off_is_not_the_image(plan: Plan, golden: Golden, project: Path) -> None:
    publish(plan, golden, project, compression="zst")
    packed = project / "output/node-003.img.zst"
    packed.write_bytes(packed.read_bytes()[:-100])
    with (
        pytest.raises(DownloadError, match=r"node-003\.img\.zst: (is damaged|unpacks to)"),
        raw(packed, manifest_of(packed).image, Store(project / "cache"), Silent()),
    ):
        pass
