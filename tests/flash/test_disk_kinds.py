"""Flash onto disks of the kinds that people have, by their own drivers: in a machine of QEMU that has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import disk_machine
from tests.flash.test_flash import is_the_disk_of, write_manifest
from tests.loop_device import blank
from tests.tiny_image import make_image

pytestmark = pytest.mark.disk

MIB = 1024**2
NVME = ("nvme", "NVME0001")
USB = ("usb", "USBSTICK01")
UAS = ("usb", "USBBRIDGE1")
NOT_USABLE = "it is not usable: look at cable, power and `dmesg`"
CARD = ("", "0xdeadbeef")


@dataclass(frozen=True)
class Ran:
    """By their serial numbers: the files behind the disks. `image` is what was put onto them."""

    told: Mapping[str, tuple[int, str]]
    files: Mapping[str, Path]
    kinds: Mapping[str, str]
    image: Path


def devices(serial: str) -> list[str]:
    drive = f"drive=disk-{serial}"
    return {
        NVME[1]: ["-device", f"nvme,{drive},serial={serial}"],
        USB[1]: ["-device", f"usb-storage,{drive},serial={serial}"],
        UAS[1]: ["-device", f"usb-uas,id=uas,serial={serial}", "-device", f"scsi-hd,bus=uas.0,{drive}"],
        CARD[1]: ["-device", "sdhci-pci", "-device", f"sd-card,{drive}"],
    }[serial]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((NVME,), id="the kernel of libguestfs"),
        pytest.param((USB, UAS, NVME, CARD), id="the kernel for all hardware", marks=pytest.mark.soak),
    ],
)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("machine")
    image, kinds = folder / "node-003.img", {serial: bus for bus, serial in request.param}
    make_image(image)
    write_manifest(image)
    kernel = disk_machine.fetched_kernel(folder) if USB[1] in kinds else None
    system = disk_machine.make_system(folder, image, kinds, kernel)
    # A card's size is a power of two.
    files = {serial: blank(folder / serial, (64 if serial == CARD[1] else 40) * MIB) for serial in kinds}
    words = ["-device", "qemu-xhci"]
    for serial, file in files.items():
        words += ["-drive", f"if=none,id=disk-{serial},file={file},format=raw", *devices(serial)]
    return Ran(disk_machine.told(system, words), files, kinds, image)


def test_each_disk_is_the_images(ran: Ran) -> None:
    for serial, file in ran.files.items():
        status, said = ran.told[f"{serial} flashed"]
        assert status == 0, said
        assert is_the_disk_of(file, ran.image)


def test_each_is_listed_with_its_bus(ran: Ran) -> None:
    for serial, bus in ran.kinds.items():
        status, said = ran.told[f"{serial} listed"]
        assert status == 0, said
        (disk,) = (disk for disk in json.loads(said) if disk["serial"] == serial)
        assert (disk["transport"] or "") == bus
        assert not disk["refused"]


def test_the_kernel_knows_the_new_partitions(ran: Ran) -> None:
    for serial in ran.kinds:
        assert ran.told[f"{serial} partitions"][1].split("\n")[-3:-1] == ["deadbeef-01 vfat", "deadbeef-02 ext4"]


def test_what_is_on_it_then_is_not_given_up_unasked(ran: Ran) -> None:
    for serial in ran.kinds:
        status, said = ran.told[f"{serial} again"]
        assert (status, "--overwrite-existing gives all of it up" in said) == (7, True), said


def test_a_mounted_partition_of_it_is_in_use(ran: Ran) -> None:
    for serial in ran.kinds:
        status, said = ran.told[f"{serial} mounted"]
        assert (status, "is mounted at /tmp/mounted; unmount it first" in said) == (7, True), said


def test_another_ones_serial_number_is_refused(ran: Ran) -> None:
    for serial in ran.kinds:
        status, said = ran.told[f"{serial} another"]
        assert (status, f"it is not the one that is expected: its serial number is {serial}" in said) == (7, True), said


def test_sectors_that_cannot_be_read_back(ran: Ran) -> None:
    assert ran.told["scsi_debug flashed"][0] == 0, ran.told["scsi_debug flashed"][1]
    status, said = ran.told["scsi_debug unreadable"]
    assert (status, "has sectors that cannot be read or written" in said, NOT_USABLE in said) == (1, True, True), said
    assert ran.told["scsi_debug unreadable then"][0] == 0, "it may boot"


@pytest.mark.parametrize("when", ["written", "read back"])
def test_a_disk_that_goes_is_not_one_that_is_too_small(when: str, ran: Ran) -> None:
    """Linux gives it the size 0: writes find no room then, and reads nothing."""
    status, said = ran.told[f"scsi_debug gone when {when}"]
    assert (status, "is gone: unplugged" in said, NOT_USABLE in said) == (1, True, True), said
