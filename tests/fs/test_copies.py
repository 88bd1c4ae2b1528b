"""A copy has the same bytes and the same holes, belongs to its owner alone, and says why it could not be made."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.fs.chunks import data_extents
from builder.fs.copies import copy_sparse
from builder.fs.mbr import sparse
from builder.host.run import stopping

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data at both ends of holes, over the borders of steps, and up to an end that is no block's."""
    path = tmp_path / "image"
    sparse(path, 40 * MIB + 5)
    with path.open("r+b") as file:
        for offset, length in ((0, 5), (3 * MIB - 7, 2 * MIB), (17 * MIB, 4096), (38 * MIB, 2 * MIB + 5)):
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))
    return path


def extents(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file:
        return list(data_extents(file.fileno(), path.stat().st_size))


def test_bytes_and_holes_are_the_same(image: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_sparse(image, copy)
    assert copy.read_bytes() == image.read_bytes()
    assert extents(copy) == extents(image)
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_kept(image: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("old")
    with pytest.raises(FileExistsError, match="there"):
        copy_sparse(image, there)
    assert there.read_text() == "old"


def test_the_end_of_a_build_ends_the_copy(image: Path, tmp_path: Path) -> None:
    stopping.set()
    try:
        with pytest.raises(BuildError, match="stopped"):
            copy_sparse(image, tmp_path / "copy")
    finally:
        stopping.clear()


def test_a_full_disk_is_named(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel writes what still fits, and refuses the rest."""
    room = 3 * MIB

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = min(len(data), room)
        room -= written
        return written

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space left") as full:
        copy_sparse(image, tmp_path / "copy")
    assert full.value.filename == str(tmp_path / "copy")
