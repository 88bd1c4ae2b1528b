"""The writer against a disk in memory that fails in every way, at every moment."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from builder.errors import BuildError, VerifyMismatchError
from builder.flash.source import gaps
from builder.flash.writer import HEAD, write_disk
from builder.fs.allocation import merged
from builder.model.manifest import CHUNK_SIZE, Extent
from builder.model.progress import Silent

MIB = 1024**2
IMAGE, DISK = 13 * MIB, 20 * MIB
EXTENTS = ((0, MIB), (2 * MIB, 7 * MIB + 4096), (9 * MIB, 9 * MIB + 8192), (12 * MIB, 13 * MIB))
DIRT = random.Random(1).randbytes(MIB)


@dataclass
class Image:
    content: bytes
    extents: Sequence[Extent] = EXTENTS
    zeros: Sequence[Extent] = gaps(EXTENTS, IMAGE)
    broken_at: int | None = None
    readers: int = 2
    read_last: int = -1

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, parts: Sequence[Extent], buffer: memoryview) -> list[bytes]:
        for start, end in parts:
            if self.broken_at is not None and start <= self.broken_at < end:
                raise BuildError("the image cannot be read")
            within = start % CHUNK_SIZE
            buffer[within : within + end - start] = self.content[start:end]
        number, self.read_last = self.read_last, parts[0][0] // CHUNK_SIZE
        assert number < self.read_last or self.readers > 1
        return [hashlib.sha256(self.content[start:end]).digest() for start, end in parts]


def _content() -> bytes:
    content = bytearray(IMAGE)
    for start, end in EXTENTS:
        content[start:end] = random.Random(start).randbytes(end - start)
    return bytes(content)


CONTENT = _content()
FINISHED = CONTENT + DIRT * 6 + bytes(MIB)


def image() -> Image:
    return Image(CONTENT)


@dataclass
class Disk:
    """Dirty at first. `before` is called before each operation with its number and name, and may raise."""

    before: Callable[[int, str], None] = lambda _number, _name: None
    at_once: int | None = None
    content: bytearray = field(default_factory=lambda: bytearray(DIRT * (DISK // MIB)))
    operations: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.content)

    def write(self, offset: int, data: memoryview) -> int:
        self._next("write")
        assert offset % 4096 == len(data) % 4096 == ctypes.addressof(ctypes.c_char.from_buffer(data)) % 4096 == 0
        taken = data[: self.at_once]
        self.content[offset : offset + len(taken)] = taken
        return len(taken)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self._next("read")
        assert offset % 4096 == len(buffer) % 4096 == ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % 4096 == 0
        got = self.kept(offset, len(buffer))
        buffer[: len(got)] = got
        return len(got)

    def kept(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def zero(self, offset: int, length: int) -> None:
        self._next("zero")
        self.content[offset : offset + length] = bytes(length)

    def flush(self) -> None:
        self._next("flush")

    def forget_cache(self) -> None:
        pass

    def _next(self, name: str) -> None:
        self.before(len(self.operations), name)
        self.operations.append(name)

    @property
    def boots(self) -> bool:
        return bool(self.content[:HEAD].strip(b"\0"))


def flash(disk: Disk, source: Image | None = None) -> None:
    write_disk(source or image(), disk, Silent(), "/dev/sdx")


def operations() -> list[str]:
    disk = Disk()
    flash(disk)
    return disk.operations


def test_a_dirty_disk_becomes_the_image_and_keeps_nothing_of_a_gpt() -> None:
    disk = Disk()
    flash(disk)
    assert disk.content == FINISHED


def test_what_is_neither_written_nor_zeroed_keeps_what_it_has() -> None:
    disk = Disk()
    source = Image(CONTENT, EXTENTS, [(9 * MIB + 8192, 12 * MIB)])
    flash(disk, source)
    assert disk.content[7 * MIB + 4096 : 9 * MIB] == (DIRT * 2)[4096:]
    assert not any(disk.content[9 * MIB + 8192 : 12 * MIB])


def test_an_image_as_large_as_the_disk_is_not_cut_off_by_the_zeros_at_the_end() -> None:
    disk = Disk(content=bytearray(DIRT * (IMAGE // MIB)))
    flash(disk)
    assert disk.content == CONTENT


def test_the_disk_does_not_boot_before_all_the_rest_has_been_read_back() -> None:
    def look(number: int, name: str) -> None:
        assert number == 0 or not disk.boots or number >= last_verified

    last_verified = len(operations()) - 1 - operations()[::-1].index("read", 1)
    disk = Disk(look)
    flash(disk)
    assert disk.boots


@pytest.mark.parametrize("at_once", [4096, 65536 + 512, 3 * MIB + 1])
def test_a_disk_that_takes_little_at_once_gets_all_of_it(at_once: int) -> None:
    disk = Disk(at_once=at_once)
    flash(disk)
    assert disk.content == FINISHED


@pytest.mark.parametrize("at_once", [0, 512])
def test_a_disk_that_takes_no_block_is_an_error_and_no_endless_loop(at_once: int) -> None:
    disk = Disk(at_once=at_once)
    with pytest.raises(BuildError, match="takes nothing more") as failed:
        flash(disk)
    assert "not usable" in str(failed.value)
    assert not disk.boots


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EIO, "fails: "), (errno.ENODEV, "is gone"), (errno.ENXIO, "is gone"), (errno.ENOSPC, "ends before")],
)
@pytest.mark.parametrize("moment", range(len(operations())))
def test_a_fault_at_any_moment_leaves_a_disk_that_does_not_boot(number: int, text: str, moment: int) -> None:
    """Once; what comes after it works again."""

    def fail(at: int, _name: str) -> None:
        if at == moment and not failed:
            failed.append(at)
            raise OSError(number, "Injected")

    failed: list[int] = []
    disk = Disk(fail)
    with pytest.raises(BuildError, match=text) as error:
        flash(disk)
    assert str(error.value).startswith("/dev/sdx: ")
    assert "not usable" in str(error.value)
    assert not disk.boots or moment == 0  # nothing was written yet


@pytest.mark.parametrize("moment", range(1, len(operations())))
def test_a_disk_that_is_pulled_out_has_no_partition_table_or_all_of_the_image(moment: int) -> None:
    def fail(at: int, _name: str) -> None:
        if at >= moment:
            raise OSError(errno.ENODEV, "No such device")

    disk = Disk(fail)
    with pytest.raises(BuildError, match="is gone"):
        flash(disk)
    assert not any(disk.content[:4096]) or disk.content == FINISHED


@pytest.mark.parametrize("moment", range(1, len(operations())))
def test_an_interrupt_at_any_moment_says_that_the_disk_is_not_usable(moment: int) -> None:
    def interrupt(at: int, _name: str) -> None:
        if at == moment and not interrupted:
            interrupted.append(at)
            raise KeyboardInterrupt

    interrupted: list[int] = []
    disk = Disk(interrupt)
    with pytest.raises(KeyboardInterrupt) as stopped:
        flash(disk)
    assert "/dev/sdx is not usable" in " ".join(stopped.value.__notes__)
    assert not disk.boots


@pytest.mark.parametrize("where", [0, 511, MIB, 7 * MIB, 9 * MIB + 8191, 8 * MIB, 13 * MIB - 1, DISK - 1])
def test_a_bit_that_the_disk_does_not_keep_is_found(where: int) -> None:
    class Forgetful(Disk):
        def kept(self, offset: int, length: int) -> bytes:
            got = bytearray(super().kept(offset, length))
            if offset <= where < offset + length:
                got[where - offset] ^= 1
            return bytes(got)

    disk = Forgetful()
    with pytest.raises(VerifyMismatchError, match="reads back other bytes") as found:
        flash(disk)
    assert "not usable" in found.value.hint
    assert not disk.boots


def test_a_disk_that_is_smaller_than_it_says_is_found() -> None:
    class Counterfeit(Disk):
        real = 6 * MIB

        def write(self, offset: int, data: memoryview) -> int:
            return super().write(offset % self.real, data[: self.real - offset % self.real])

        def kept(self, offset: int, length: int) -> bytes:
            return (bytes(self.content[: self.real]) * 4)[offset : offset + length]

    with pytest.raises(VerifyMismatchError):
        flash(Counterfeit())


def test_zeros_that_are_promised_and_not_made_are_found() -> None:
    class Lazy(Disk):
        def zero(self, offset: int, length: int) -> None:
            if offset != 0:
                return
            super().zero(offset, length)

    disk = Lazy()
    with pytest.raises(VerifyMismatchError):
        flash(disk)
    assert not disk.boots


def test_an_image_that_cannot_be_read_is_not_blamed_on_the_disk() -> None:
    disk, source = Disk(), image()
    source.broken_at = 6 * MIB
    with pytest.raises(BuildError, match="the image cannot be read") as failed:
        flash(disk, source)
    assert "/dev/sdx is not usable" in failed.value.hint
    assert not disk.boots


def test_one_reader_gets_the_chunks_in_their_order() -> None:
    disk = Disk()
    flash(disk, Image(CONTENT, readers=1))
    assert disk.content == FINISHED


def test_extents_are_made_whole_blocks_and_joined() -> None:
    assert merged([(5000, 5001), (0, 100), (8192, 9000), (30000, 32000)], 31000) == ((0, 12288), (28672, 31000))
    assert gaps(((0, 12288), (28672, 31000)), 40960) == ((12288, 28672), (31000, 40960))
