"""`verify` passes an image that is as its manifest says, and names every place where one is not."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from builder.errors import BuildError, VerifyMismatchError
from builder.machines.appliance import Appliance
from builder.model.manifest import Manifest
from builder.verify import Mismatch, examine, verify
from tests.tiny_image import BOOT_START, ROOT_START, SILENT, debugfs, flip, make_image, manifest_of

pytestmark = pytest.mark.disk


def of_these_bytes(manifest: Manifest, image: Path) -> Manifest:
    """The manifest of who changed an image and took its digests anew."""
    return manifest.model_copy(update={"image": manifest_of(image).image})


def test_a_clean_image_passes(tmp_path: Path) -> None:
    image = tmp_path / "tiny.img"
    manifest = make_image(image)
    before = image.read_bytes()

    report = verify(image, manifest, SILENT)

    assert (report.files, report.chunks, report.mismatches) == (8, 6, ())
    assert image.read_bytes() == before


def test_every_damage_is_named(tmp_path: Path) -> None:
    image = tmp_path / "tiny.img"
    manifest = make_image(image)
    flip(image, b"node-003\n")
    flip(image, b"console=tty0 root")
    debugfs(
        image,
        "sif etc/secret mode 0100644",
        "sif etc/secret gid 0",
        "sif srv uid 0",
        "rm etc/localtime",
        "symlink etc/localtime /usr/Tokyo",
        "mkdir etc/gone",
    )
    flip(image, bytes.fromhex("efbeadde"))

    with pytest.raises(VerifyMismatchError, match="image bytes 0-4194303: sha256 is "):
        verify(image, manifest, SILENT)
    with pytest.raises(VerifyMismatchError) as caught:
        verify(image, of_these_bytes(manifest, image), SILENT)
    text = str(caught.value)

    for expected in (
        "disk: disk_id is 0xdeadbeee, not 0xdeadbeef",
        "boot:/cmdline.txt: sha256 is ",
        "root:/etc/hostname: sha256 is ",
        "root:/etc/secret: mode is 0644, not 0640 (asked by identity, profiles/cluster.yaml:1)",
        "root:/etc/secret: group is 0, not 900",
        "root:/etc/localtime: target is /usr/Tokyo, not /usr/UTC (asked by time, a.yaml:1)",
        "root:/srv: owner is 0, not 900",
        "root:/etc/gone: type is dir, not absent",
    ):
        assert expected in text
    assert "boot:/config.txt" not in text
    assert caught.value.exit_code == 8


def test_a_volume_that_cannot_be_mounted_is_a_mismatch_not_a_crash(tmp_path: Path) -> None:
    image = tmp_path / "tiny.img"
    manifest = make_image(image)
    with image.open("r+b") as file:
        file.seek(ROOT_START + 1024)
        file.write(bytes(1024))
        file.seek(BOOT_START)
        file.write(bytes(512))

    report = examine(image, of_these_bytes(manifest, image), SILENT)
    wrong = {(mismatch.where, mismatch.what) for mismatch in report.mismatches}

    assert {("root", "filesystem"), ("boot", "filesystem")} <= wrong


def test_a_filesystem_that_was_broken_before_its_digests_were_taken_is_found(tmp_path: Path) -> None:
    image = tmp_path / "tiny.img"
    make_image(image)
    debugfs(image, "freei <15>")

    wrong = {(mismatch.where, mismatch.what) for mismatch in examine(image, manifest_of(image), SILENT).mismatches}

    assert wrong >= {("root", "e2fsck status")}


def test_both_volumes_are_read_out_with_owners_and_modes(tmp_path: Path) -> None:
    image = tmp_path / "tiny.img"
    manifest = make_image(image)
    with Appliance(image, SILENT) as appliance:
        assert appliance.disk_facts() == manifest.layout
        # As udev does for a moment whenever a program that could write has closed the disk.
        appliance.shell("rm /dev/sda1 /dev/sda2")
        assert [appliance.filesystem("boot"), appliance.filesystem("root")] == ["vfat", "ext4"]
        with appliance.mounted("root"):
            appliance.tar_out("/", tmp_path / "root.tar", limit=1 << 30)
            with pytest.raises(BuildError, match="No such file"):
                appliance.readlink("/nothing")
    with tarfile.open(tmp_path / "root.tar") as tar:
        secret, link = tar.getmember("./etc/secret"), tar.getmember("./etc/localtime")
    assert (secret.mode, secret.uid, secret.gid, secret.size) == (0o640, 0, 900, 7)
    assert link.linkname == "/usr/UTC"


def test_the_disk_is_found_when_the_kernel_has_named_the_appliances_own_first(tmp_path: Path) -> None:
    """The kernel probes SCSI disks side by side. On a loaded machine sda and sdb change places."""
    image = tmp_path / "tiny.img"
    manifest = make_image(image)
    with Appliance(image, SILENT) as appliance:
        appliance.shell("cd /dev; mv sda other; mv sdb sda; mv other sdb; ln -sf ../../sdb disk/guestfs/image")
        assert appliance.e2fsck(manifest.layout.root_start) == ""
        assert "UTC" in appliance.debugfs("stat /etc/localtime", manifest.layout.root_start)


def test_a_mismatch_says_what_is_and_what_should_be() -> None:
    assert Mismatch("root:/x", "mode", "0644", "0600").describe() == "root:/x: mode is 0600, not 0644"
