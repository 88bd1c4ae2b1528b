"""A published image is a raw disk with the partitions of its base, or it is refused before anything starts for it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from builder.base.partitions import HINT, require_layout
from builder.errors import DownloadError
from builder.host.run import run
from builder.model.settings import Base
from tests.tiny_image import BOOT_SIZE, BOOT_START, MIB, ROOT_SIZE, ROOT_START, make_image, partition, tiny_base

URL = "https://example.org/image.img.xz"
END = ROOT_START + ROOT_SIZE
BOOT, ROOT = (
    f"start={BOOT_START // 512}, size={BOOT_SIZE // 512}",
    f"start={ROOT_START // 512}, size={ROOT_SIZE // 512}",
)


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny_base()


def refused(image: Path, base: Base) -> str:
    with pytest.raises(DownloadError) as caught:
        require_layout(image, base, URL)
    assert (caught.value.where, caught.value.hint) == (URL, HINT)
    return caught.value.message


def write_row(image: Path, number: int, kind: int, start: int, size: int) -> None:
    """A row of the table as no partitioning program would write it; sectors."""
    with image.open("r+b") as file:
        file.seek(446 + 16 * (number - 1))
        file.write(struct.pack("<4xB3xII", kind, start, size))


@pytest.mark.parametrize("kind", ["b", "c", "e"])
def test_the_two_partitions_of_a_pi_are_taken(tmp_path: Path, base: Base, kind: str) -> None:
    partition(tmp_path / "x.img2", f"{BOOT}, type={kind}", f"{ROOT}, type=83")
    require_layout(tmp_path / "x.img2", base, URL)


@pytest.mark.disk
def test_volumes_in_it_change_nothing(tmp_path: Path, base: Base) -> None:
    make_image(tmp_path / "image")
    require_layout(tmp_path / "image", base, URL)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has other partitions (none) than 1, a FAT, and 2, an ext4"),
        ([f"{BOOT}, type=c"], "has other partitions (1) than 1, a FAT, and 2, an ext4"),
        (
            [f"{BOOT}, type=c", f"{ROOT}, type=5", f"start={ROOT_START // 512 + 2048}, size=2048, type=83"],
            "has other partitions (1, 2, 5) than 1, a FAT, and 2, an ext4",
        ),
        (
            [f"{BOOT}, type=83", f"{ROOT}, type=83"],
            "partition 1 is of type 0x83, not FAT (0x0b, 0x0c, 0x0e)",
        ),
        ([f"{BOOT}, type=c", f"{ROOT}, type=7"], "partition 2 is of type 0x07, not Linux (0x83)"),
        (
            [f"start={BOOT_START // 512}, size=2048, type=c", f"{ROOT}, type=83"],
            f"partition 1 has {MIB} bytes at {BOOT_START}, and in the profile it has {BOOT_SIZE} bytes at {BOOT_START}",
        ),
        (
            [f"{BOOT}, type=c", f"start={ROOT_START // 512 + 2048}, size=2048, type=83"],
            f"partition 2 has {MIB} bytes at {ROOT_START + MIB}, and in the profile it has {MIB} bytes at {ROOT_START}",
        ),
    ],
)
def test_another_table_is_told(tmp_path: Path, base: Base, rows: list[str], said: str) -> None:
    partition(tmp_path / "image", *rows)
    assert refused(tmp_path / "image", base) == said


def test_a_gap_in_the_table_is_told(tmp_path: Path, base: Base) -> None:
    partition(tmp_path / "image", f"{BOOT}, type=c")
    write_row(tmp_path / "image", 3, 0x83, ROOT_START // 512, ROOT_SIZE // 512)
    assert refused(tmp_path / "image", base) == "has other partitions (1, 3) than 1, a FAT, and 2, an ext4"


@pytest.mark.parametrize(
    ("start", "size", "said"),
    [
        (ROOT_START - MIB, ROOT_SIZE, "partitions 1 and 2 overlap"),
        (
            ROOT_START,
            1 << 40,
            f"partition 2 ends at {ROOT_START + (1 << 40)}, and the image at 25165824: it is cut off",
        ),
        (1 << 40, ROOT_SIZE, f"partition 2 ends at {(1 << 40) + ROOT_SIZE}, and the image at 25165824: it is cut off"),
        (0, ROOT_SIZE, f"partition 2 cannot be: {ROOT_SIZE} bytes at 0"),
    ],
)
def test_partitions_that_cannot_be_are_told(tmp_path: Path, base: Base, start: int, size: int, said: str) -> None:
    partition(tmp_path / "image", f"{BOOT}, type=c", f"{ROOT}, type=83")
    write_row(tmp_path / "image", 2, 0x83, start // 512, size // 512)
    assert refused(tmp_path / "image", base) == said


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (0, "has no partition table"),
        (300, "has no partition table"),
        (ROOT_START, f"partition 2 ends at {END}, and the image at {ROOT_START}: it is cut off"),
        (END - 1, f"partition 2 ends at {END}, and the image at {END - 1}: it is cut off"),
    ],
)
def test_a_truncated_image_is_told(tmp_path: Path, base: Base, length: int, said: str) -> None:
    partition(tmp_path / "image", f"{BOOT}, type=c", f"{ROOT}, type=83")
    os.truncate(tmp_path / "image", length)
    assert refused(tmp_path / "image", base) == said


def test_a_disk_without_a_table_or_with_a_gpt_is_told(tmp_path: Path, base: Base) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(24 * MIB))
    assert refused(image, base) == "has no partition table"
    run(["sfdisk", "--quiet", image], input=f"label: gpt\n{BOOT}\n{ROOT}\n".encode())
    assert refused(image, base) == "has a gpt partition table, not a dos one (MBR)"


@pytest.mark.parametrize(
    ("kind", "said"),
    [("qcow2", "a qcow"), ("vmdk", "a VMDK"), ("vdi", "a VDI"), ("vhdx", "a VHDX"), ("vpc", "a VHD"), ("qed", "a QED")],
)
@pytest.mark.disk
def test_a_virtual_machines_disk_is_told(tmp_path: Path, base: Base, kind: str, said: str) -> None:
    run(["qemu-img", "create", "-f", kind, tmp_path / "image", "24M"])
    assert refused(tmp_path / "image", base) == f"is {said} disk, not a raw image"


def test_a_raw_image_that_qemu_would_take_for_a_qcow2_is_told(tmp_path: Path, base: Base) -> None:
    """With a good table behind the magic: the header would name a file of the host as its backing file."""
    partition(tmp_path / "image", f"{BOOT}, type=c", f"{ROOT}, type=83")
    with (tmp_path / "image").open("r+b") as file:
        file.write(b"QFI\xfb\0\0\0\3")
    assert refused(tmp_path / "image", base) == "is a qcow disk, not a raw image"
