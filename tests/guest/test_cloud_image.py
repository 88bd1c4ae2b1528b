"""Alpine's cloud image as the guest's disk: refused when it is not by itself, grown, and made ready like an installed
one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuildError, ConfigurationError
from builder.fs import ext4
from builder.fs.tree import Tree
from builder.guest.alpine import AlpineDisks
from builder.host.run import run
from builder.model.plan import GuestDisk
from builder.model.progress import Silent
from builder.model.settings import Guest
from builder.store.products import Store
from tests.alpine_standin import Ingredients, cloud_tree
from tests.planned import plan_of

pytestmark = pytest.mark.disk

MIB = 1024**2
Change = Callable[[Tree], object]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qcow2 as its publisher would make it."""
    return make_image(tmp_path_factory.mktemp("cloud"), lambda tree: None)


def make_image(folder: Path, change: Change) -> Path:
    raw, tar, image = folder / "cloud.raw", folder / "cloud.tar", folder / "cloud.qcow2"
    tree = cloud_tree(Ingredients(b"a kernel", b"its initramfs"))
    change(tree)
    tree.write_tar(tar)
    with raw.open("wb") as file:
        file.truncate(200 * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "/", "-d", tar, raw])
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image])
    return image


@pytest.fixture
def parts(project_folder: Path) -> tuple[GuestDisk, Guest]:
    plan = plan_of(project_folder, node="guest: alpine-cloud\n")
    assert plan.guest_disk is not None
    assert plan.guest is not None
    return plan.guest_disk, plan.guest


def take(parts: tuple[GuestDisk, Guest], image: Path, folder: Path) -> Path:
    return AlpineDisks(Store(folder / "store"), Silent(), offline=True).make_disk(*parts, image).files["guest-disk"]


def test_it_is_grown_and_made_ready(published: Path, parts: tuple[GuestDisk, Guest], tmp_path: Path) -> None:
    disk, raw = take(parts, published, tmp_path), tmp_path / "disk.raw"
    assert disk.stat().st_size < 300 * MIB
    run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw])
    assert raw.stat().st_size == 128 * 1024**3
    facts = run(["dumpe2fs", "-h", raw]).text
    assert "Block count:              33554432" in facts
    assert run(["e2fsck", "-fn", raw], check=False).returncode == 0
    texts = ["boot/extlinux.conf", "etc/fstab", "etc/shadow", "etc/inittab"]
    extlinux, fstab, shadow, inittab = (content.decode() for content in ext4.read_files(raw, 0, texts, tmp_path))
    assert "APPEND root=LABEL=/ modules=ext4 console=ttyS0,115200 tsc=reliable\n" in extlinux
    assert fstab.startswith("LABEL=/ / ext4 rw,noatime,discard,noinit_itable 1 1\n")
    assert shadow.startswith("root:*:")
    assert "\nttyS0::respawn:" in inittab
    there = ext4.look(
        raw, 0, ["etc/runlevels/boot/pimu-seed", "etc/runlevels/boot/networking", "usr/lib/pimu/doas-as-sudo"], tmp_path
    )
    assert there["etc/runlevels/boot/pimu-seed"].target == "/etc/init.d/pimu-seed"
    assert "etc/runlevels/boot/networking" not in there
    assert there["usr/lib/pimu/doas-as-sudo"].mode == 0o755


def test_the_same_image_makes_the_same_disk_once(
    published: Path, parts: tuple[GuestDisk, Guest], tmp_path: Path
) -> None:
    first = take(parts, published, tmp_path)
    assert take(parts, published, tmp_path) == first
    assert take(parts, published, tmp_path / "other").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("options", [["-b", "/etc/passwd", "-F", "raw"], ["-o", "data_file=DATA"]])
def test_a_disk_that_names_other_files_is_refused(
    options: list[str], parts: tuple[GuestDisk, Guest], tmp_path: Path
) -> None:
    image = tmp_path / "cloud.qcow2"
    data = str(tmp_path / "data")
    run(["qemu-img", "create", "-q", "-f", "qcow2", *(word.replace("DATA", data) for word in options), image, "200M"])
    with pytest.raises(BuildError, match="is no disk by itself: it names another file"):
        take(parts, image, tmp_path)


def test_what_is_no_qcow2_and_what_is_too_large_is_refused(parts: tuple[GuestDisk, Guest], tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"<html>" * 100)
    with pytest.raises(BuildError, match=r"alpine-3\.22\.\d+-x86_64-bios-tiny-r0\.qcow2: is no qcow2"):
        take(parts, tmp_path / "page", tmp_path)
    run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "large", "129G"])
    with pytest.raises(BuildError, match="larger than the profile's"):
        take(parts, tmp_path / "large", tmp_path)


def without(*paths: str) -> Change:
    return lambda tree: [tree.entries.pop(path) for path in paths]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("boot/vmlinuz-virt"), "/boot/vmlinuz-virt is missing on the volume that it boots from"),
        (without("etc/init.d/tiny-cloud-main"), "there is no service tiny-cloud-main"),
        (without("etc/init.d/acpid", "etc/init.d/chronyd"), "there is no service chronyd"),
    ],
)
def test_an_image_that_lacks_what_a_guest_needs_is_refused(
    change: Change, said: str, parts: tuple[GuestDisk, Guest], tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=said):
        take(parts, make_image(tmp_path, change), tmp_path)


def test_an_image_of_another_layout_is_refused(parts: tuple[GuestDisk, Guest], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the base has no such file"):
        take(parts, make_image(tmp_path, without("etc/fstab")), tmp_path)
