"""Wrong disks that a loop device can be: each is refused for its reason, and keeps every byte."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.cli import disks
from builder.cli.terminal import Terminal
from builder.flash.survey import open_for_writing
from builder.host.run import run
from tests.loop_device import attach, blank, detach, loop_device
from tests.tiny_image import make_image

pytestmark = pytest.mark.disk

MIB = 1024**2
DISK = 40 * MIB
OVERWRITE = "--overwrite-existing"
Mark = tuple[int, bytes]
"""An offset in bytes (from the end, when it is negative) and the content there."""


def raid(start: int) -> Mark:
    """A superblock of Linux' RAID, version 1 (linux/raid/md_p.h)."""
    block = bytearray(256)
    struct.pack_into("<IIII16s32s", block, 0, 0xA92B4EFC, 1, 0, 0, b"of the array....", b"nas:0")
    struct.pack_into("<II", block, 72, 1, 0)
    struct.pack_into("<Q", block, 144, start // 512)
    total = sum(struct.unpack("<64I", block))
    struct.pack_into("<I", block, 216, (total & 0xFFFFFFFF) + (total >> 32))
    return start, bytes(block)


def lvm2() -> Mark:
    """A label of LVM2, with its CRC from a seed of LVM's own (lib/misc/crc.c, without the final inversion)."""
    body = struct.pack("<I8s", 32, b"LVM2 001") + bytes(480)
    crc = 0xF597A6CF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return 512, b"LABELONE" + struct.pack("<QI", 1, crc) + body


APFS = bytes(8) + struct.pack("<QQHHHH4sI", 1, 1, 1, 0x8000, 0, 0, b"NXSB", 4096)
SQUASHFS = b"hsqs" + bytes(24) + struct.pack("<HH", 4, 0) + bytes(64)

OF_SOMEBODY_ELSE: dict[str, tuple[Mark, ...]] = {
    "crypto_LUKS": ((0, b"LUKS\xba\xbe\0\1aes"),),
    "crypto_LUKS, version 2": ((0, b"LUKS\xba\xbe\0\2" + bytes(400)),),
    "apfs": ((0, APFS),),
    "hfsplus": ((1024, b"H+\0\4" + bytes(36) + struct.pack(">II", 4096, 10240)),),
    "iso9660": ((32768, b"\1CD001\1" + b"x" * 64), (34816, b"\xffCD001\1")),
    "squashfs": ((0, SQUASHFS),),
    "swsuspend": ((4086, b"S1SUSPEND\0"),),
    "swap": ((1024, struct.pack("<II", 1, 9000)), (4086, b"SWAPSPACE2")),
    "jbd": ((1024 + 56, b"\x53\xef"), (1024 + 96, struct.pack("<I", 8))),
    "ubi": ((0, b"UBI#\1"),),
    "VMFS": ((2 * MIB, b"\x5e\xf1\xab\x2f"),),
    "mac": ((0, b"ER\2\0"), (512, b"PM\0\0\0\0\0\1")),
    "data of no kind: at the beginning": ((0, b"\x01"),),
    "data of no kind: in the first MiB": ((MIB - 1, b"\x01"),),
    "data of no kind: in the last MiB": ((-MIB, b"\x01"),),
    "data of no kind: at the end": ((-1, b"\x01"),),
    "data of no kind: all but empty": tuple((MIB * number, b"\xa5" * 4096) for number in range(40)),
}
PARTS_OF_MORE: dict[str, tuple[Mark, ...]] = {
    "a Linux RAID: 1.2": (raid(4096),),
    "a Linux RAID: 1.1": (raid(0),),
    "a Linux RAID: 1.0": (raid((DISK // 512 - 16 & ~7) * 512),),
    "an LVM volume group": (lvm2(),),
    "an LVM volume group: LVM1": ((0, b"HM\2\0" + bytes(40)),),
    "a firmware RAID: Intel": ((-1024, b"Intel Raid ISM Cfg Sig. 1.3.00"),),
    "a firmware RAID: DDF": ((-512, b"\xde\x11\xde\x11" + bytes(20) + b"01.02.00"),),
    "a Ceph store": ((0, b"bluestore block device\n00000000-0000-0000-0000-000000000000\n"),),
    "a VMFS volume": ((MIB, b"\x0d\xd0\x01\xc0"),),
}
MADE_BY: dict[str, tuple[str, ...]] = {
    "ext2": ("mke2fs", "-q", "-F", "-t", "ext2"),
    "ext4": ("mke2fs", "-q", "-F", "-t", "ext4"),
    "vfat": ("mkfs.fat",),
    "minix": ("mkfs.minix",),
    "swap": ("mkswap", "--quiet"),
    "gpt": ("sfdisk", "--quiet", "--no-reread", "--label=gpt"),
    "dos": ("sfdisk", "--quiet", "--no-reread", "--label=dos"),
    "sun": ("sfdisk", "--quiet", "--no-reread", "--label=sun"),
    "sgi": ("sfdisk", "--quiet", "--no-reread", "--label=sgi"),
}

Refused = Callable[..., str]


@pytest.fixture
def room() -> Iterator[Path]:
    """For disks: in memory where it can be, as all of each is read twice."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "node-003.img"
    manifest = make_image(path).model_copy(update={"plan": {"settings": {"cluster": "pimu"}}})
    path.with_suffix(".manifest.json").write_text(manifest.to_json())
    return path


@pytest.fixture
def disk(room: Path) -> Iterator[Path]:
    """A blank one."""
    with loop_device(blank(room / "disk", DISK)) as device:
        yield device


@pytest.fixture
def refused(image: Path, disk: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(WORD...) is what `flash` says of the disk, or `device`. It ends with 7; both keep every byte."""

    def check(*words: str, device: Path = disk, whole: Path = image, also: Sequence[Path] = ()) -> str:
        kept = [path for path in dict.fromkeys((disk, device, *also)) if path.is_block_device() or path.is_file()]
        before = {path: sha256(path) for path in kept}
        status = command_line("flash", str(whole), str(device), "--expect-serial", str(size_of(device)), *words)
        out, err = capsys.readouterr()
        assert (status, out) == (7, ""), err
        assert {path: sha256(path) for path in kept} == before
        return err

    return check


def size_of(device: Path) -> int:
    """The size of a disk: a script expects it of one without a serial number."""
    if not device.is_block_device():
        return 0
    with device.open("rb") as file:
        return file.seek(0, os.SEEK_END)


def sha256(path: Path) -> str:
    """Partitions have a page cache of their own."""
    for partition in path.parent.glob(f"{path.name}p[0-9]") if path.is_block_device() else ():
        run(["sync", partition])
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(disk: Path, marks: Sequence[Mark]) -> None:
    with disk.open("r+b") as file:
        for place, data in marks:
            file.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
            file.write(data)


@contextmanager
def partitioned(disk: Path, kind: str = "83") -> Iterator[Path]:
    """A disk with one partition, which the kernel knows."""
    run(["sfdisk", "--quiet", "--no-reread", disk], input=f"label: dos\nstart=2048, size=65536, type={kind}\n".encode())
    run(["partx", "--add", disk])
    try:
        yield Path(f"{disk}p1")
    finally:  # busy while another program looks at all disks; the loop device's next user must not find it
        for _ in range(100):
            if run(["partx", "--delete", disk], check=False).returncode == 0:
                break
            time.sleep(0.1)


@contextmanager
def mounted(device: Path, where: Path) -> Iterator[Path]:
    """Read only, so that the disk keeps its bytes."""
    where.mkdir()
    if subprocess.run(["mount", "-o", "ro", device, where], check=False, capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


@contextmanager
def swapping(device: Path) -> Iterator[None]:
    run(["mkswap", "--quiet", device])
    if subprocess.run(["swapon", "--priority", "0", device], check=False, capture_output=True).returncode:
        pytest.skip("this machine swaps on nothing")
    try:
        yield
    finally:
        subprocess.run(["swapoff", device], check=True)


# What is on it --------------------------------------------------------------------------------------------------------


def test_there_are_many(request: pytest.FixtureRequest) -> None:
    ours = [item for item in request.session.items if item.path == Path(__file__)]
    assert len(ours) >= 50 or len(request.session.items) < 50


@pytest.mark.parametrize("kind", OF_SOMEBODY_ELSE)
def test_what_somebody_else_has_is_not_given_up_unasked(kind: str, refused: Refused, disk: Path) -> None:
    write(disk, OF_SOMEBODY_ELSE[kind])
    said = refused()
    assert f"holds {kind.partition(':')[0].partition(',')[0]}" in said or kind.partition(",")[0] in said
    assert OVERWRITE in said


@pytest.mark.parametrize("kind", MADE_BY)
def test_what_the_systems_tools_make_is_not_given_up_unasked(kind: str, refused: Refused, disk: Path) -> None:
    words = MADE_BY[kind]
    run([*words, disk], input=b"size=8M\n" if words[0] == "sfdisk" else None)
    said = refused()
    assert kind in said
    assert OVERWRITE in said


@pytest.mark.parametrize("kind", PARTS_OF_MORE)
@pytest.mark.parametrize("words", [(), (OVERWRITE, "--max-size", "20TB")], ids=["unasked", "whatever is said"])
def test_a_part_of_more_is_never_given_up(words: Sequence[str], kind: str, refused: Refused, disk: Path) -> None:
    write(disk, PARTS_OF_MORE[kind])
    said = refused(*words)
    assert f"is a part of more: it belongs to {kind.partition(':')[0]}; " in said


def test_a_part_of_more_on_a_partition(refused: Refused, disk: Path) -> None:
    with partitioned(disk, "8e") as partition:
        write(partition, [lvm2()])
        assert "is a part of more: " in (said := refused(OVERWRITE))
        assert f"{partition} belongs to an LVM volume group" in said or "a partition of it belongs to an LVM" in said


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_a_part_of_more_on_a_partition_that_the_kernel_does_not_know(label: str, refused: Refused, disk: Path) -> None:
    run(["sfdisk", "--quiet", "--no-reread", f"--label={label}", disk], input=b"start=4096, size=8M\n")
    start, data = raid(4096)
    write(disk, [(4096 * 512 + start, data)])
    assert "a partition of it belongs to a Linux RAID" in refused(OVERWRITE)


@pytest.mark.parametrize("start", [0, 2048 * 512], ids=["disk", "partition"])
def test_a_btrfs_of_which_there_is_more_elsewhere(start: int, refused: Refused, disk: Path) -> None:
    """Unplugged, so that no other disk tells."""
    if start:
        run(["sfdisk", "--quiet", "--no-reread", "--label=dos", disk], input=b"start=2048\n")
    write(disk, [(start + 65536 + 64, b"_BHRfS_M"), (start + 65536 + 136, struct.pack("<Q", 2))])
    said = refused(OVERWRITE)
    assert f"is a part of more: {'a partition of it' if start else 'it'} belongs to a btrfs on several disks" in said


def test_one_of_two_disks_of_a_btrfs(refused: Refused, room: Path) -> None:
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("no mkfs.btrfs is here")
    files = [blank(room / name, 256 * MIB) for name in "ab"]
    with loop_device(files[0]) as one, loop_device(files[1]) as other:
        run(["mkfs.btrfs", "--quiet", "--data", "raid1", one, other])
        said = refused(OVERWRITE, device=one, also=[other])
        assert (
            f"{other} belongs to the same btrfs as it" in said or "more: it belongs to a btrfs on several disks" in said
        )


# Who uses it ----------------------------------------------------------------------------------------------------------


def test_a_mounted_partition(refused: Refused, disk: Path, tmp_path: Path) -> None:
    with partitioned(disk) as partition:
        run(["mke2fs", "-q", "-F", partition])
        with mounted(partition, tmp_path / "mnt") as where:
            assert f"is in use: {partition} is mounted at {where}; unmount it first" in refused(OVERWRITE)


def test_what_another_namespace_has_mounted(refused: Refused, disk: Path, tmp_path: Path) -> None:
    """Out of our sight: the kernel alone knows."""
    run(["mke2fs", "-q", "-F", disk])
    where = tmp_path / "mnt"
    where.mkdir()
    script = 'mount -o ro "$0" "$1" && echo mounted && read -r _'
    argv = ["unshare", "--mount", "sh", "-c", script, str(disk), str(where)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        if other.stdout.readline() != b"mounted\n":
            pytest.skip("this machine mounts nothing")
        try:
            assert "the kernel has given it to somebody else" in refused(OVERWRITE)
        finally:
            other.communicate(b"\n")


def test_active_swap(refused: Refused, disk: Path) -> None:
    with swapping(disk):
        assert "is in use: it is active swap space; swapoff it first" in refused(OVERWRITE)


def test_active_swap_on_a_partition(refused: Refused, disk: Path) -> None:
    with partitioned(disk, "82") as partition, swapping(partition):
        assert f"is in use: {partition} is active swap space; swapoff it first" in refused(OVERWRITE)


def test_what_holds_the_image(refused: Refused, disk: Path, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (image, image.with_suffix(".manifest.json")):
        run(["cp", "--sparse=always", path, folder])
    run(["mke2fs", "-q", "-F", "-d", folder, disk])
    with mounted(disk, tmp_path / "mnt") as where:
        said = refused(OVERWRITE, whole=where / image.name)
        assert f"carries the image: {where / image.name}" in said
        assert f"is mounted at {where}" in said


@pytest.mark.parametrize("flags", [os.O_RDONLY | os.O_EXCL, os.O_RDWR | os.O_EXCL, os.O_WRONLY], ids=str)
def test_what_another_program_has_open(flags: int, refused: Refused, disk: Path) -> None:
    program = "import os, sys; os.open(sys.argv[1], int(sys.argv[2])); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", program, str(disk), str(flags)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            assert "is in use: " in refused(OVERWRITE)
        finally:
            other.communicate()


def test_a_program_that_ends_while_it_is_looked_at_hides_no_other(disk: Path, tmp_path: Path) -> None:
    """/proc still lists the program then, with nothing in its folder."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").symlink_to(f"/proc/{os.getpid()}")
    descriptor = os.open(disk, os.O_WRONLY)
    try:
        (programs,) = open_for_writing(tmp_path).values()
    finally:
        os.close(descriptor)
    assert [name.partition(" ")[2] for name in programs] == ["(process 2)"]


# What it is -----------------------------------------------------------------------------------------------------------


def test_a_partition_in_the_place_of_a_disk(refused: Refused, disk: Path) -> None:
    with partitioned(disk) as partition:
        said = refused(OVERWRITE, device=partition)
        assert f"is a partition of {disk}; an image is a whole disk" in said


@pytest.mark.parametrize("how", ["by losetup", "by blockdev"])
def test_a_read_only_disk(how: str, refused: Refused, room: Path) -> None:
    file = blank(room / "read-only", DISK)
    device = attach(file)
    try:
        if how == "by losetup":
            run(["losetup", "--detach", device])
            run(["losetup", "--read-only", device, file])
        else:
            run(["blockdev", "--setro", device])
        assert "is read-only" in refused(OVERWRITE, device=device)
    finally:
        detach(device)


@pytest.mark.parametrize(("size", "said"), [(24 * MIB - 512, "and the image 25165824"), (0, "no medium is in it")])
def test_a_disk_that_is_too_small(size: int, said: str, refused: Refused, room: Path) -> None:
    with loop_device(blank(room / "small", size)) as small:
        assert said in refused(OVERWRITE, device=small)


@pytest.mark.parametrize("name", ["file", "folder", "link to a file", "link to nowhere", "/dev/null", "/dev/zero"])
def test_what_is_no_block_device(name: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / name
    match name:
        case "file":
            path.write_bytes(b"precious")
        case "folder":
            path.mkdir()
        case "link to a file":
            (tmp_path / "precious").write_bytes(b"precious")
            path.symlink_to("precious")
        case "link to nowhere":
            path.symlink_to("nowhere")
    said = refused(OVERWRITE, device=path)
    assert ("does not exist" if name == "link to nowhere" else "is not a block device") in said
    assert not (tmp_path / "nowhere").exists()


# What changes meanwhile -----------------------------------------------------------------------------------------------


def test_a_link_that_is_bent_leads_to_no_other_disk(
    image: Path,
    disk: Path,
    room: Path,
    tmp_path: Path,
    command_line: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is followed once: what is written is what was looked at and shown."""
    link = tmp_path / "usb-SSD"
    link.symlink_to(disk)
    with loop_device(blank(room / "other", DISK)) as other:
        before, of_disk = sha256(other), sha256(disk)

        def bend(*_: object, **__: object) -> None:
            link.unlink()
            link.symlink_to(other)

        monkeypatch.setattr(disks, "_confirm", bend)
        assert command_line("flash", str(image), str(link), "--project", str(tmp_path)) == 0
        assert link.resolve() == other
        assert sha256(other) == before
        assert sha256(disk) != of_disk


@pytest.mark.parametrize("moment", ["look at", "compare"])
def test_a_device_node_that_becomes_another_disks_is_noticed(
    moment: str, refused: Refused, disk: Path, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, step = tmp_path / "sdx", Terminal.step
    with loop_device(blank(room / "other", DISK)) as other:

        def at(device: Path) -> None:
            node.unlink(missing_ok=True)
            os.mknod(node, 0o600 | 0o060000, device.stat().st_rdev)

        def change(self: Terminal, name: str, text: str) -> None:
            if name == "flash" and text.startswith(moment) and moment == "compare":
                at(other)
            step(self, name, text)

        monkeypatch.setattr(Terminal, "step", change)
        at(disk)
        if moment == "look at":  # the other disk has a name of its own by now, and is in use
            with other.open("r+b"):
                at(other)
                assert "is in use: it is open in" in refused(device=node, also=[other])
        else:
            assert "is not the disk that was looked at: its device number was" in refused(device=node, also=[other])
