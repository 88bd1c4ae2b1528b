"""Names out of an image never become paths of the build host: config.txt's, which `boot` looks up on the FAT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder import limits
from builder.boot.firmware import boot_files
from builder.errors import BuildError
from builder.fs import fat
from builder.fs.tree import Entry
from builder.host.run import run
from builder.model.manifest import Manifest
from tests.cases import snapshot
from tests.tiny_image import BOOT_START, CMDLINE, flip, make_image, manifest_of

pytestmark = pytest.mark.disk

PAYLOAD = b"* * * * * root id >/tmp/evil\n"


def put(image: Path, name: str, content: bytes) -> None:
    run(["mcopy", "-o", "-i", f"{image}@@{BOOT_START}", "-", f"::{name}"], input=content)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    make_image(tmp_path / "tiny.img")
    return tmp_path / "tiny.img"


def refusal(image: Path, folder: Path) -> str:
    """Copies the image's boot files into `folder`/scratch. They must be refused, and nothing be made anywhere."""
    scratch = folder / "scratch"
    scratch.mkdir()
    before = snapshot(folder)
    with pytest.raises(BuildError) as caught:
        boot_files(image, manifest_of(image).layout, scratch)
    after = snapshot(folder)
    assert {name: after[name] for name in after if not name.startswith(f"{scratch}/")} == before
    assert {Path(name).name for name in after if name.startswith(f"{scratch}/")} <= {"kernel"}
    return str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        "kernel=OUTSIDE",
        "initramfs OUTSIDE followkernel",
        "[pi4]\nkernel=OUTSIDE\n[all]",
        "kernel=..OUTSIDE",
        "initramfs ../../evil followkernel",
        "kernel=../tmp/evil",
        "kernel=overlays/../../evil",
        "kernel=./evil",
        "kernel=evil*",
        "kernel=evi?",
        "kernel=[a-z]*",
        "kernel=c:/evil",
        "kernel=::evil",
        "kernel=tmp\\evil",
        "kernel=-evil",
        "kernel=",
        "kernel=tmp//evil",
        "kernel=evil\x07",
        "kernel=kernel/../../kernel8.img\nauto_initramfs=1",
        f"kernel={'a' * 300}",
    ],
)
def test_a_name_that_is_no_path_on_the_fat_is_refused(lines: str, image: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside/evil"
    outside.parent.mkdir()
    path = str(outside)
    for part in [*outside.parents][-2::-1]:
        run(["mmd", "-D", "s", "-i", f"{image}@@{BOOT_START}", f"::{part}"], check=False)
    put(image, path, PAYLOAD)
    put(image, "evil", PAYLOAD)
    put(image, "config.txt", f"kernel=vmlinuz-6.12\n{lines.replace('OUTSIDE', path)}\n".encode())
    if lines.startswith(("kernel=OUTSIDE", "initramfs OUTSIDE", "[pi4]")):
        files = boot_files(image, manifest_of(image).layout, _fresh(tmp_path / "scratch"))
        assert not outside.exists()
        assert PAYLOAD in (files.kernel.read_bytes(), files.initrd.read_bytes() if files.initrd else b"")
        assert {file.name for file in (tmp_path / "scratch").iterdir()} <= {"kernel", "initrd"}
    else:
        assert "which is no path on its FAT" in refusal(image, tmp_path)


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_link_that_waits_in_the_place_of_a_file_is_not_followed(image: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/kernel").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        boot_files(image, manifest_of(image).layout, tmp_path / "scratch")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.txt", b"#" * (limits.BOOT_TEXT + 1), f"writes more than {limits.BOOT_TEXT} bytes"),
        ("cmdline.txt", b"x" * (limits.BOOT_TEXT + 1), f"writes more than {limits.BOOT_TEXT} bytes"),
        ("cmdline.txt", b"root=/dev/vda2\x00-drive", "is not one line of text"),
        ("cmdline.txt", b"root=/dev/vda2\n-drive file=/etc/shadow", "is not one line of text"),
        ("cmdline.txt", b"root=\x1b[2J", "is not one line of text"),
        ("cmdline.txt", b"x " * 2000, "is not one line of text"),
    ],
)
def test_texts_that_are_too_long_or_no_text_are_refused(
    name: str, content: bytes, said: str, image: Path, tmp_path: Path
) -> None:
    put(image, name, content)
    assert said in refusal(image, tmp_path)


def test_a_kernel_that_is_too_large_is_not_read_whole(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KERNEL", 1 << 20)
    put(image, "vmlinuz-6.12", bytes((1 << 20) + 1))
    assert f"writes more than {1 << 20} bytes" in refusal(image, tmp_path)


def test_an_image_that_is_not_its_manifests_does_not_boot(
    image: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "tiny.manifest.json").write_text(manifest_of(image).to_json())
    flip(image, CMDLINE)
    before = snapshot(tmp_path)
    assert command_line("boot", str(image), "--project", str(tmp_path)) == 8
    assert "is not the image of its manifest" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_a_manifest_that_disagrees_with_itself_does_not_boot(
    image: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = manifest_of(image)
    other = Manifest(**{**dict(good), "image": good.image.model_copy(update={"digest": "0" * 64})})
    (tmp_path / "tiny.manifest.json").write_text(other.to_json())
    assert command_line("boot", str(image), "--project", str(tmp_path)) == 8
    assert "is not the image of its manifest" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/OUTSIDE", "../../outside/victim", "a/../../../outside/victim"])
def test_a_path_for_a_volume_is_never_one_of_the_host(path: str, image: Path, tmp_path: Path) -> None:
    victim = tmp_path / "outside/victim"
    victim.parent.mkdir()
    victim.write_text("precious")
    work = tmp_path / "work"
    work.mkdir()
    name = path.replace("/OUTSIDE", str(victim))
    with pytest.raises(BuildError, match="no match for target"):
        fat.edit(image, BOOT_START, [(name, None, Entry.of_bytes(PAYLOAD, 0))], work, 0)
    assert victim.read_text() == "precious"
    assert [path.name for path in work.iterdir()] == ["fat-0"]
