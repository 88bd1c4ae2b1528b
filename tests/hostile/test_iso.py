"""ISOs in which something else lies in the kernel's place: none of it reaches the build host's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import limits
from builder.errors import BuildError
from builder.guest import apkovl, iso
from builder.host.run import run
from tests.cases import snapshot

pytestmark = pytest.mark.disk

KERNEL = bytes(0x202) + b"HdrS" + bytes(0x30) + b"\x01" + bytes(0x200)
INITRAMFS = b"\x1f\x8b initramfs"
Change = Callable[[Path, Path], object]


def make_iso(folder: Path, change: Change, *words: str) -> Path:
    """An ISO of Alpine's layout; `change` gets its tree and a victim, a private file outside."""
    tree, victim = folder / "tree", folder / "outside/victim"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz-virt").write_bytes(KERNEL)
    (tree / "boot/initramfs-virt").write_bytes(INITRAMFS)
    victim.parent.mkdir()
    victim.write_text("secret\n")
    victim.chmod(0o600)
    change(tree, victim)
    image = folder / "x.iso"
    run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "alpine", *(words or ("-J", "-r")), "-o", image, tree])
    return image


def instead(name: str, make: Callable[[Path, Path], object]) -> Change:
    def change(tree: Path, victim: Path) -> None:
        path = tree / name
        path.unlink()
        make(path, victim)

    return change


def linked(name: str, target: str) -> Change:
    return instead(name, lambda path, victim: path.symlink_to(target.replace("VICTIM", str(victim))))


def boot_is_a_link(tree: Path, victim: Path) -> None:
    (tree / "boot").rename(victim.parent / "boot")
    (tree / "boot").symlink_to(victim.parent / "boot")


def nothing(_: Path, __: Path) -> None:
    pass


@pytest.mark.parametrize(
    "change",
    [
        linked("boot/initramfs-virt", "VICTIM"),
        linked("boot/vmlinuz-virt", "VICTIM"),
        linked("boot/initramfs-virt", "../../outside/victim"),
        linked("boot/initramfs-virt", "vmlinuz-virt"),
        linked("boot/initramfs-virt", "initramfs-virt"),
        linked("boot/vmlinuz-virt", "/dev/zero"),
        boot_is_a_link,
        instead("boot/vmlinuz-virt", lambda path, _: os.mknod(path, 0o20644, os.makedev(1, 5))),
        instead("boot/initramfs-virt", lambda path, _: os.mknod(path, 0o60644, os.makedev(7, 0))),
        instead("boot/initramfs-virt", lambda path, _: os.mkfifo(path)),
        instead("boot/initramfs-virt", lambda path, _: path.mkdir()),
        instead("boot/vmlinuz-virt", lambda path, _: path.rename(path.with_name("gone")) if path.exists() else None),
    ],
    ids=[
        *(
            "link-out",
            "kernel-link-out",
            "link-up",
            "link-beside",
            "link-to-itself",
            "link-to-device",
            "folder-is-link",
        ),
        *("zero-device", "block-device", "fifo", "folder", "absent"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="makes device nodes")
def test_only_regular_files_are_taken(change: Change, tmp_path: Path) -> None:
    image = make_iso(tmp_path, change)
    (tmp_path / "work").mkdir()
    before = snapshot(tmp_path)
    with pytest.raises(BuildError, match="URL: is no Alpine ISO with the kernel virt: no /boot/"):
        iso.extract(image, "virt", tmp_path / "work", "URL")
    assert snapshot(tmp_path) == before


def test_hard_links_and_wide_modes_are_copied_as_plain_files(tmp_path: Path) -> None:
    """The result is ours alone: what is appended to it reaches no other name."""

    def change(tree: Path, _: Path) -> None:
        (tree / "boot/initramfs-virt").chmod(0o4777)
        (tree / "boot/twin").hardlink_to(tree / "boot/initramfs-virt")

    image = make_iso(tmp_path, change)
    (tmp_path / "extracted").mkdir()
    before = snapshot(tmp_path)
    found = iso.extract(image, "virt", tmp_path / "extracted", "URL")
    apkovl.append(found.initramfs, (), tmp_path / "extracted", 0)
    assert found.initramfs.read_bytes().startswith(INITRAMFS)
    assert found.kernel.read_bytes() == KERNEL
    assert [path.stat().st_mode & 0o7777 for path in (found.kernel, found.initramfs)] == [0o644, 0o644]
    assert {name: state for name, state in snapshot(tmp_path).items() if "/extracted/" not in name} == before


def test_a_link_that_waits_in_the_work_folder_is_not_followed(tmp_path: Path) -> None:
    image = make_iso(tmp_path, nothing)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/initramfs").symlink_to(tmp_path / "outside/victim")
    with pytest.raises(FileExistsError):
        iso.extract(image, "virt", tmp_path / "work", "URL")
    assert (tmp_path / "outside/victim").read_text() == "secret\n"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_iso(tmp_path, lambda tree, _: (tree / "boot/initramfs-virt").write_bytes(bytes(1 << 20)))
    monkeypatch.setattr(limits, "INITRD", 1 << 19)
    with pytest.raises(BuildError, match=f"its /boot/initramfs-virt has {1 << 20} bytes, and {1 << 19} are the most"):
        iso.extract(image, "virt", tmp_path, "URL")


def record(image: Path, content: bytes, size: int) -> None:
    """Give the file with that content another size in its directory records (ECMA-119, 9.1.4)."""
    data = bytearray(image.read_bytes())
    block = data.index(content) // 2048
    old = block.to_bytes(4, "little") + block.to_bytes(4, "big")
    at = data.find(old)
    while at >= 0:
        data[at + 8 : at + 16] = size.to_bytes(4, "little") + size.to_bytes(4, "big")
        at = data.find(old, at + 1)
    image.write_bytes(data)


@pytest.mark.parametrize("size", [(1 << 32) - 1, 100 << 20, 3 << 28])
def test_a_size_beyond_the_isos_end_costs_nothing(size: int, tmp_path: Path) -> None:
    image = make_iso(tmp_path, nothing)
    record(image, INITRAMFS, size)
    with pytest.raises(BuildError, match=r"initramfs-virt has \d+ bytes|ends before the end of its /boot/initramfs"):
        iso.extract(image, "virt", tmp_path, "URL")
    assert not (tmp_path / "initramfs").exists()


def test_an_iso_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    image = make_iso(tmp_path, lambda tree, _: (tree / "boot/initramfs-virt").write_bytes(os.urandom(1 << 20)))
    os.truncate(image, image.stat().st_size - (1 << 20))
    with pytest.raises(BuildError, match="URL: "):
        iso.extract(image, "virt", tmp_path, "URL")
    assert not (tmp_path / "initramfs").exists()
