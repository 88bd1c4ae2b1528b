"""The whole of `pimu-build flash` and `list-disks`, on loop devices of this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder.build import Built
from builder.cli.terminal import Terminal
from builder.errors import FlashRefusedError
from builder.flash import device as devices
from builder.flash import guard, same_disk
from builder.flash.device import Device, opened
from builder.flash.source import Image, extents_of, image_source, zeros_between
from builder.flash.survey import look, target_of
from builder.flash.writer import write_disk
from builder.fs import ext4, fat
from builder.fs.allocation import merged
from builder.fs.chunks import digests
from builder.host.run import run
from builder.model.disks import BlockDevice, Record
from builder.model.manifest import CHUNK_SIZE, Extent, Manifest, image_digest
from builder.model.progress import Silent
from tests.loop_device import attach, blank, detach, loop_device
from tests.packed import PACKERS
from tests.tiny_image import BOOT_START, HOSTNAME, ROOT_SIZE, ROOT_START, debugfs, make_image, manifest_of

pytestmark = pytest.mark.disk

MIB = 1024**2
DISK = 40 * MIB
DIRT = random.Random(2).randbytes(MIB)
SOME = ("ours.zst", "ours.xz", "one block.xz")
RECORD = {"cluster": "pimu", "node": "node-003"}
Run = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """node.img, and ran.img, a copy of which has been in a Pi: its guest has a disk."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("node", "ran"):
        image = folder / f"{name}.img"
        make_image(image)
        run(["mcopy", "-i", f"{image}@@{BOOT_START}", "-", "::/pimu-id.json"], input=json.dumps(RECORD).encode())
        conf = folder / "node.conf"
        conf.write_text("PIMU_NODE=node-003\n")
        debugfs(image, "mkdir /etc/pimu", f"write {conf} /etc/pimu/node.conf")
        if name == "ran":
            guest = folder / "guest"
            guest.write_bytes(DIRT)
            folders = [f"mkdir {path}" for path in ("/var", "/var/lib", "/var/lib/pimu", "/var/lib/pimu/guest")]
            debugfs(image, *folders, f"write {guest} /var/lib/pimu/guest/disk.qcow2")
        write_manifest(image)
    return folder


def write_manifest(image: Path) -> None:
    """Write the manifest of a tiny image, with the blocks that matter."""
    manifest = manifest_of(image)
    facts = manifest.image.model_copy(update={"allocated": allocated(image)})
    manifest = manifest.model_copy(update={"image": facts, "plan": {"settings": {"cluster": "pimu"}}})
    image.with_suffix(".manifest.json").write_text(manifest.to_json())


def allocated(image: Path) -> tuple[Extent, ...]:
    """The boot volume as a whole; so small an ext4 has blocks of 1 KiB."""
    free = set(ext4.free_blocks(image, ROOT_START))
    starts = (ROOT_START + block * 1024 for block in range(ROOT_SIZE // 1024) if block not in free)
    return merged([(0, ROOT_START), *((start, start + 1024) for start in starts)], image.stat().st_size)


@pytest.fixture
def node(images: Path) -> Path:
    return images / "node.img"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A blank one."""
    with loop_device(blank(tmp_path / "disk", DISK)) as device:
        yield device


def flash(command_line: Run, image: Path, device: Path, *words: str) -> int:
    """As a script that knows the disk, which has no serial number. The user's own list of flashes stays as it is."""
    project = ("--project", str(image.parent))
    return command_line("flash", str(image), str(device), "--expect-serial", str(DISK), *project, *words)


def dirty(device: Path) -> None:
    device.write_bytes(DIRT * (DISK // MIB))


def content(device: Path) -> bytes:
    with device.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def is_the_disk_of(device: Path, image: Path) -> bool:
    """All that the image's filesystems have allocated is there, and between them nothing; both are clean."""
    found, wanted, manifest = content(device), image.read_bytes(), manifest_at(image)
    extents = extents_of(manifest.image)
    assert sum(end - start for start, end in extents) < len(wanted) - MIB
    run(["e2fsck", "-fn", f"{device}?offset={manifest.layout.root_start}"])
    kept = all(found[start:end] == wanted[start:end] for start, end in extents)
    empty = not any(found[start:end].strip(b"\0") for start, end in zeros_between(extents, manifest))
    return kept and empty and not found[-MIB:].strip(b"\0")


def sha256(device: Path) -> str:
    return hashlib.sha256(content(device)).hexdigest()


class TestFlashed:
    def test_a_blank_disk_becomes_the_image(self, node: Path, disk: Path, command_line: Run, capsys: Output) -> None:
        assert flash(command_line, node, disk) == 0
        out, err = capsys.readouterr()
        assert out.startswith(f"{disk}  is the disk of node-003: ")
        assert "becomes   the disk of node-003" in err
        assert is_the_disk_of(disk, node)

    def test_a_dirty_disk_ends_with_the_same_image(self, node: Path, disk: Path, command_line: Run) -> None:
        dirty(disk)
        assert flash(command_line, node, disk, "--overwrite-existing") == 0
        size = node.stat().st_size
        assert is_the_disk_of(disk, node)
        assert content(disk)[size:-MIB] == (DIRT * (DISK // MIB))[size:-MIB]

    def test_the_image_with_other_holes_is_the_same_disk(
        self, node: Path, disk: Path, tmp_path: Path, command_line: Run
    ) -> None:
        sparse = tmp_path / "sparse.img"
        run(["cp", "--sparse=always", node, sparse])
        shutil.copy(node.with_suffix(".manifest.json"), sparse.with_suffix(".manifest.json"))
        dirty(disk)
        assert flash(command_line, sparse, disk, "--overwrite-existing") == 0
        assert is_the_disk_of(disk, node)

    def test_by_a_link_and_as_json(
        self, node: Path, disk: Path, tmp_path: Path, command_line: Run, capsys: Output
    ) -> None:
        link = tmp_path / "usb-Samsung_PSSD_T7-0:0"
        link.symlink_to(disk)
        assert flash(command_line, node, link, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        extents = extents_of(manifest_at(node).image)
        assert told["bytes_written"] == sum(end - start for start, end in extents)
        assert is_the_disk_of(disk, node)

    def test_again_onto_the_nodes_own_disk_needs_no_more_words(
        self, node: Path, disk: Path, command_line: Run, capsys: Output
    ) -> None:
        assert flash(command_line, node, disk) == 0
        assert flash(command_line, node, disk) == 0
        assert "holds     node node-003 of cluster pimu" in capsys.readouterr().err

    def test_again_after_an_interrupt_too(
        self, node: Path, disk: Path, command_line: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, in what a shell runs in the background
        with monkeypatch.context() as patched:
            patched.setattr(Terminal, "bar", interrupted_when("verify", Terminal.bar))
            assert flash(command_line, node, disk) == 130
        err = capsys.readouterr().err
        assert f"interrupted; {disk} is not usable" in err
        assert "nothing half made" not in err
        assert not content(disk)[:MIB].strip(b"\0")
        assert HOSTNAME in content(disk)
        assert flash(command_line, node, disk) == 0
        assert is_the_disk_of(disk, node)

    @pytest.mark.parametrize("direct", [True, False])
    def test_devices_that_cannot_do_all_that_others_can(
        self, direct: bool, node: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither zeroing by themselves nor, in the second case, direct I/O."""
        monkeypatch.setattr(devices, "_BLKZEROOUT", 0x12FE)
        dirty(disk)
        with image_source(node, manifest_at(node)) as source, opened(disk) as device:
            if direct:
                device.pass_the_cache()
            assert device.direct == direct
            write_disk(source, device, Silent(), str(disk))
        assert is_the_disk_of(disk, node)


class TestCompressed:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Nothing may come to be here, nor among temporary files."""
        folder = tmp_path / "cache"
        folder.mkdir()
        monkeypatch.setenv("PIMU_CACHE", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        return folder

    @pytest.fixture
    def packed(self, request: pytest.FixtureRequest, node: Path, tmp_path: Path) -> Path:
        compression, pack = PACKERS[request.param]
        file = tmp_path / f"node.img.{compression}"
        file.write_bytes(pack(node.read_bytes()))
        shutil.copy(node.with_suffix(".manifest.json"), tmp_path / "node.manifest.json")
        return file

    @pytest.mark.parametrize("packed", PACKERS, indirect=True)
    def test_goes_to_the_disk_and_nowhere_else(
        self, packed: Path, node: Path, disk: Path, cache: Path, command_line: Run
    ) -> None:
        dirty(disk)
        assert flash(command_line, packed, disk, "--overwrite-existing") == 0
        assert is_the_disk_of(disk, node)
        assert list(cache.iterdir()) == []

    @pytest.mark.parametrize("packed", SOME, indirect=True)
    def test_that_is_cut_off_costs_no_disk(
        self, packed: Path, disk: Path, cache: Path, command_line: Run, capsys: Output
    ) -> None:
        os.truncate(packed, packed.stat().st_size - 1000)
        dirty(disk)
        before = sha256(disk)
        assert flash(command_line, packed, disk, "--overwrite-existing") == 4
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if f"{packed}: is damaged: " in line] == lines[-2:-1]
        assert sha256(disk) == before
        assert list(cache.iterdir()) == []

    @pytest.mark.parametrize("packed", SOME, indirect=True)
    def test_with_a_frame_that_has_changed_leaves_a_disk_that_does_not_boot(
        self, packed: Path, disk: Path, cache: Path, command_line: Run, capsys: Output
    ) -> None:
        data = bytearray(packed.read_bytes())
        place = len(data) // 2
        data[place] ^= 1
        packed.write_bytes(data)
        assert flash(command_line, packed, disk) in (4, 8)
        self.is_said_to_be_unusable(packed, disk, capsys.readouterr().err)
        assert list(cache.iterdir()) == []

    @pytest.mark.parametrize("packed", SOME, indirect=True)
    def test_with_another_manifest_leaves_a_disk_that_does_not_boot(
        self, packed: Path, node: Path, disk: Path, command_line: Run, capsys: Output
    ) -> None:
        """Its last chunk that matters is another."""
        manifest = manifest_at(node)
        last = (manifest.image.allocated[-1][1] - 1) // CHUNK_SIZE
        chunks = [*manifest.image.chunks[:last], "0" * 64, *manifest.image.chunks[last + 1 :]]
        facts = manifest.image.model_copy(update={"chunks": tuple(chunks), "digest": image_digest(chunks)})
        other = manifest.model_copy(update={"image": facts})
        packed.with_name("node.manifest.json").write_text(other.to_json())
        assert flash(command_line, packed, disk) == 8
        err = capsys.readouterr().err
        self.is_said_to_be_unusable(packed, disk, err)
        assert f"does not agree with its manifest, at {last * CHUNK_SIZE}-" in err

    @pytest.mark.parametrize("packed", ["ours.zst", "one block.xz"], indirect=True)
    def test_interrupted_leaves_a_disk_that_does_not_boot(
        self, packed: Path, node: Path, disk: Path, command_line: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        read = Image.read

        def interrupted(self: Image, parts: Sequence[Extent], buffer: memoryview) -> list[bytes]:
            if parts[0][0] >= CHUNK_SIZE:
                os.kill(os.getpid(), signal.SIGINT)
            return read(self, parts, buffer)

        with monkeypatch.context() as patched:
            patched.setattr(Image, "read", interrupted)
            assert flash(command_line, packed, disk) == 130
        assert f"interrupted; {disk} is not usable" in capsys.readouterr().err
        assert not content(disk)[:MIB].strip(b"\0")
        assert flash(command_line, packed, disk) == 0
        assert is_the_disk_of(disk, node)

    def is_said_to_be_unusable(self, packed: Path, disk: Path, err: str) -> None:
        *_, what, hint = err.splitlines()
        assert f"{packed}: is damaged: " in what or f"{packed}: does not agree with its manifest, at " in what
        assert f"build the image again; {disk} is not usable" in hint
        assert not content(disk)[:MIB].strip(b"\0")


def interrupted_when(name: str, bar: Callable[..., object]) -> Callable[..., object]:
    def wrapped(self: Terminal, called: str, **how: object) -> object:
        if called == name:
            signal.raise_signal(signal.SIGINT)
        return bar(self, called, **how)

    return wrapped


def manifest_at(image: Path) -> Manifest:
    return Manifest.from_json(image.with_suffix(".manifest.json").read_text(), str(image))


class TestRefused:
    @pytest.fixture
    def refused(self, node: Path, disk: Path, command_line: Run, capsys: Output) -> Callable[..., str]:
        """refused(WORD...) is what the command says; it must end with 7 and leave the disk as it is."""

        def check(*words: str, image: Path = node, device: Path = disk, plain: bool = False) -> str:
            kept = [path for path in dict.fromkeys((disk, device)) if path.is_block_device()]
            before = [sha256(path) for path in kept]
            if plain:
                assert command_line("flash", str(image), str(device), *words) == 7
            else:
                assert flash(command_line, image, device, *words) == 7
            out, err = capsys.readouterr()
            assert out == ""
            assert [sha256(path) for path in kept] == before
            return err

        return check

    def test_a_filesystem_of_somebody_else(self, refused: Callable[..., str], disk: Path) -> None:
        run(["mke2fs", "-q", "-F", "-L", "photos", disk])
        assert "ext4" in (said := refused()) or "ext2" in said
        assert "--overwrite-existing" in said

    def test_partitions_of_somebody_else(self, refused: Callable[..., str], disk: Path) -> None:
        run(["sfdisk", "--quiet", "--no-reread", disk], input=b"label: gpt\nsize=8M\n", check=False)
        assert "gpt" in refused()

    def test_data_that_nobody_knows(self, refused: Callable[..., str], disk: Path) -> None:
        with disk.open("r+b") as file:
            file.seek(DISK - 4096)
            file.write(b"VeraCrypt has no header")
        assert "encrypted?" in refused()

    def test_a_raid_member_whatever_is_said(self, refused: Callable[..., str], disk: Path) -> None:
        with disk.open("r+b") as file:  # the magic of LVM2 (libblkid, lvm.c)
            file.seek(512)
            file.write(b"LABELONE" + (1).to_bytes(8, "little") + bytes(8) + b"LVM2 001" + b"x" * 32)
            file.seek(512)
            sector = content(disk)[512:1024]
            file.seek(512 + 16)
            file.write(lvm_crc(sector[20:]).to_bytes(4, "little"))
        assert "LVM volume group" in refused("--overwrite-existing")

    def test_a_mounted_disk(self, refused: Callable[..., str], disk: Path, tmp_path: Path) -> None:
        run(["mke2fs", "-q", "-F", disk])
        where = tmp_path / "mnt"
        where.mkdir()
        if subprocess.run(["mount", "-o", "ro", disk, where], check=False, capture_output=True).returncode:
            pytest.skip("this machine mounts nothing")
        try:
            assert f"is mounted at {where}" in refused("--overwrite-existing")
        finally:
            subprocess.run(["umount", where], check=True)

    def test_a_disk_that_another_program_has(self, refused: Callable[..., str], disk: Path) -> None:
        descriptor = os.open(disk, os.O_RDONLY | os.O_EXCL)
        try:
            assert "the kernel has given it to somebody else" in refused()
        finally:
            os.close(descriptor)

    def test_a_disk_that_a_virtual_machine_writes_to(self, refused: Callable[..., str], disk: Path) -> None:
        machine = subprocess.Popen(["sleep", "60"], stdin=disk.open("r+b"))
        try:
            assert f"it is open in sleep (process {machine.pid})" in refused()
        finally:
            machine.kill()
            machine.wait()

    def test_a_disk_of_ours_that_has_become_somebody_elses(
        self, refused: Callable[..., str], node: Path, disk: Path, command_line: Run, capsys: Output
    ) -> None:
        """The boot volume is as it was; photos are where the system was."""
        assert flash(command_line, node, disk) == 0
        run(["mke2fs", "-q", "-F", "-E", f"offset={ROOT_START}", disk, f"{ROOT_SIZE // 1024}k"])
        capsys.readouterr()
        assert "--overwrite-existing" in refused()

    def test_a_disk_that_another_program_has_locked(self, refused: Callable[..., str], disk: Path) -> None:
        with disk.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            assert "another program has locked it" in refused()

    def test_a_read_only_disk(self, refused: Callable[..., str], disk: Path) -> None:
        run(["blockdev", "--setro", disk])
        assert "is read-only" in refused()

    def test_a_disk_that_is_too_small(self, refused: Callable[..., str], tmp_path: Path) -> None:
        with loop_device(blank(tmp_path / "small", 20 * MIB)) as small:
            assert "has 20971520 bytes, and the image 25165824" in refused(device=small)

    def test_a_disk_that_is_too_large(self, refused: Callable[..., str]) -> None:
        assert "--max-size" in refused("--max-size", "30MB")

    def test_another_disk_than_was_expected(self, refused: Callable[..., str], disk: Path) -> None:
        assert f"its size in bytes is {DISK}" in refused("--expect-serial", "S5SXNS0R700159", plain=True)

    def test_nobody_to_confirm(self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        with Path(os.devnull).open() as nobody:
            monkeypatch.setattr(sys, "stdin", nobody)
            assert f"--expect-serial {DISK}" in refused(plain=True)

    def test_the_disk_of_another_node(
        self, refused: Callable[..., str], node: Path, disk: Path, command_line: Run, capsys: Output, tmp_path: Path
    ) -> None:
        assert flash(command_line, node, disk) == 0
        other = tmp_path / "other.img"
        run(["cp", node, other])
        manifest = manifest_at(node).model_copy(update={"node": "node-004"})
        other.with_suffix(".manifest.json").write_text(manifest.to_json())
        capsys.readouterr()
        assert "is the disk of node node-003 of cluster pimu, not of node-004" in refused(image=other)

    def test_a_guest_with_data_when_nobody_can_be_asked(
        self, refused: Callable[..., str], images: Path, disk: Path, command_line: Run, capsys: Output
    ) -> None:
        assert flash(command_line, images / "ran.img", disk) == 0
        capsys.readouterr()
        assert "holds node-003's guest with all its data" in refused()

    def test_a_loop_device_of_the_image_itself(self, refused: Callable[..., str], node: Path, tmp_path: Path) -> None:
        image = tmp_path / "own.img"
        run(["cp", node, image])
        shutil.copy(node.with_suffix(".manifest.json"), image.with_suffix(".manifest.json"))
        with loop_device(image) as device:
            assert f"carries the image: {image}" in refused(
                "--expect-serial", str(image.stat().st_size), image=image, device=device, plain=True
            )

    def test_a_loop_device_on_the_disk(self, refused: Callable[..., str], disk: Path) -> None:
        with loop_device(disk) as upper:
            assert f"is held by {upper}" in refused()
            assert f"stands on {disk}" in refused(device=upper)

    def test_names_that_lead_nowhere(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "does not exist" in refused(device=Path("/dev/sdzz"))
        assert not Path("/dev/sdzz").exists()
        file = tmp_path / "file"
        file.touch()
        assert "is not a block device" in refused(device=file)
        assert "is not a block device" in refused(device=Path("/dev/null"))


def lvm_crc(data: bytes) -> int:
    """CRC-32 without the final inversion, from a seed of LVM's own (lib/misc/crc.c)."""
    crc = 0xF597A6CF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc


def test_a_damaged_image_costs_no_disk(
    node: Path, disk: Path, tmp_path: Path, command_line: Run, capsys: Output
) -> None:
    image = tmp_path / "damaged.img"
    run(["cp", node, image])
    with image.open("r+b") as file:
        file.seek(7 * MIB)
        file.write(b"!")
    shutil.copy(node.with_suffix(".manifest.json"), image.with_suffix(".manifest.json"))
    before = sha256(disk)
    assert flash(command_line, image, disk) == 8
    assert "does not agree with its manifest" in capsys.readouterr().err
    assert sha256(disk) == before


class TestPerson:
    """At a terminal."""

    def answered(self, image: Path, device: Path, *answers: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        argv = [sys.executable, "-m", "builder", "flash", str(image), str(device), "--project", str(image.parent)]
        process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.close(theirs)
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        said, _ = process.communicate(timeout=60)
        os.close(ours)
        return process.returncode, said.decode()

    def test_types_what_only_this_disk_has(self, node: Path, disk: Path) -> None:
        status, said = self.answered(node, disk, str(DISK))
        assert (status, "is the disk of node-003" in said) == (0, True), said
        assert is_the_disk_of(disk, node)

    @pytest.mark.parametrize("answer", ["y", "yes", "", "0"])
    def test_yes_is_no_answer(self, answer: str, node: Path, disk: Path) -> None:
        before = sha256(disk)
        status, said = self.answered(node, disk, answer)
        assert (status, "is not the disk that you mean" in said) == (7, True), said
        assert sha256(disk) == before

    @pytest.mark.parametrize(("answer", "status"), [("node-003", 0), ("y", 7)])
    def test_is_asked_again_for_a_guest_with_data(
        self, answer: str, status: int, images: Path, disk: Path, command_line: Run
    ) -> None:
        assert flash(command_line, images / "ran.img", disk) == 0
        before = sha256(disk)
        ended, said = self.answered(images / "node.img", disk, str(DISK), answer)
        assert (ended, "To give it up, type node-003" in said) == (status, True), said
        assert (sha256(disk) == before) == bool(status)


class TestIdentity:
    def test_a_disk_that_was_changed_for_another_is_noticed(self, tmp_path: Path) -> None:
        """The same name, the same size, no serial number: the sequence number tells."""
        files = [blank(tmp_path / name, DISK) for name in "ab"]
        device = attach(files[0])
        try:
            shown = looked_at(device).identity
            detach(device)
            run(["losetup", device, files[1]])
            with opened(device) as other, pytest.raises(FlashRefusedError, match="sequence number"):
                same_disk(shown, other, device)
        finally:
            detach(device)

    def test_the_same_disk_is_the_same(self, disk: Path) -> None:
        with opened(disk) as device:
            same_disk(looked_at(disk).identity, device, disk)

    @pytest.mark.parametrize(
        ("field", "value"), [("serial", "X"), ("wwn", "X"), ("size", 1), ("model", "X"), ("by_id", ("usb-X",))]
    )
    def test_every_trait_counts(self, field: str, value: object, disk: Path) -> None:
        identity = looked_at(disk).identity
        assert guard.changed(identity, replace(identity, **{field: value}))  # type: ignore[arg-type]
        assert not guard.changed(identity, identity)

    @pytest.mark.parametrize("trait", ["size", "diskseq"])
    def test_the_open_device_is_asked_itself(self, trait: str, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Device, trait, property(lambda _: 512))
        with opened(disk) as device, pytest.raises(FlashRefusedError, match="and is 512"):
            same_disk(looked_at(disk).identity, device, disk)

    def test_the_open_device_tells_its_own_size(self, disk: Path) -> None:
        with opened(disk) as device:
            assert (device.size, device.number) == (DISK, looked_at(disk).number)


def looked_at(device: Path) -> BlockDevice:
    found = look().find(target_of(device).number)
    assert found is not None
    return found


class TestList:
    def test_the_disk_of_this_machine_is_refused(self, command_line: Run, capsys: Output) -> None:
        assert command_line("list-disks", "--json") == 0
        disks = json.loads(capsys.readouterr().out)
        root = Path("/").stat().st_dev
        mine = next((disk for disk in disks if Path(disk["path"]).stat().st_rdev == root), None)
        if mine is None:
            pytest.skip("/ is on no disk without partitions")
        assert "system" in {reason["kind"] for reason in mine["refused"]}

    def test_for_people(self, command_line: Run, capsys: Output) -> None:
        assert command_line("list-disks") == 0
        assert capsys.readouterr().out

    def test_no_lsblk_is_an_error_and_no_empty_list(
        self, command_line: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for script in ("exit 1", "echo", "echo '{}'"):
            fake = tmp_path / "lsblk"
            fake.write_text(f"#!/bin/sh\n{script}\n")
            fake.chmod(0o755)
            monkeypatch.setattr("builder.host.run.PATH", f"{tmp_path}:{'/usr/bin:/bin'}")
            assert command_line("list-disks") == 1
            out, err = capsys.readouterr()
            assert (out, "lsblk" in err) == ("", True)


def test_the_closed_device_is_free_again(disk: Path) -> None:
    with opened(disk) as device:
        assert isinstance(device, Device)
        with pytest.raises(FlashRefusedError, match="in use"), opened(disk):
            pass
    with opened(disk):
        pass


def test_every_image_says_whose_disk_it_makes(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    start, recorded = manifest.layout.boot_start, manifest.image.recorded
    assert recorded is not None
    text = fat.read_file(built.image, start, "pimu-id.json")
    assert Record.from_json(text) == Record(cluster=built.plan.settings.cluster, node="node-003", image=recorded)

    image = tmp_path / "zeros-in-its-place.img"
    run(["cp", "--sparse=always", built.image, image])
    ((place, _),) = fat.content_extents(image, start, ["pimu-id.json"])
    with image.open("r+b") as file:
        file.seek(place)
        file.write(text.replace(recorded.encode(), b"0" * 64))
    assert image_digest(digests(image)) == recorded
