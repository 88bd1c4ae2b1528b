"""Published files become raw images: each kind, sparse, never more than the pin says, and damage is told."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import DownloadError
from builder.fetch.unpacking import unpack
from builder.host.run import run
from builder.model.progress import Silent

pytestmark = pytest.mark.disk

MIB = 1 << 20
RAW = random.Random(1).randbytes(MIB) + bytes(24 * MIB) + random.Random(2).randbytes(MIB + 4096)
SHA256 = hashlib.sha256(RAW).hexdigest()
WHERE = "https://example.org/image"


def _xz(file: Path) -> None:
    file.write_bytes(lzma.compress(RAW))


def _xz_in_blocks(file: Path) -> None:
    file.write_bytes(run(["xz", "-T2", "--block-size=4MiB", "-0", "-c"], input=RAW).stdout)


def _zst(file: Path) -> None:
    file.write_bytes(run(["zstd", "-c"], input=RAW).stdout)


def _gz(file: Path) -> None:
    file.write_bytes(gzip.compress(RAW))


def _zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../readme.txt", "hello")
        archive.writestr("../2026-raspios.img", RAW)


def _img(file: Path) -> None:
    file.write_bytes(RAW)


KINDS = [_xz, _xz_in_blocks, _zst, _gz, _zip, _img]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw.img"


def unpacked(file: Path, raw: Path, size: int | None = len(RAW), sha256: str | None = SHA256) -> str:
    return unpack(file, raw, size=size, sha256=sha256, where=WHERE, progress=Silent())


def refused(file: Path, raw: Path, size: int | None = len(RAW), sha256: str | None = SHA256) -> str:
    with pytest.raises(DownloadError) as caught:
        unpacked(file, raw, size, sha256)
    assert caught.value.where == WHERE
    return caught.value.message


@pytest.mark.parametrize("pack", KINDS)
@pytest.mark.parametrize("known", [True, False])
def test_each_kind_gives_the_image_with_its_holes(
    tmp_path: Path, raw: Path, pack: Callable[[Path], None], known: bool
) -> None:
    pack(tmp_path / "packed")
    assert unpacked(tmp_path / "packed", raw, *([] if known else [None, None])) == SHA256
    assert hashlib.sha256(raw.read_bytes()).hexdigest() == SHA256
    assert raw.stat().st_blocks * 512 < 12 * MIB


@pytest.mark.parametrize("pack", KINDS)
def test_more_than_the_pin_says_is_not_unpacked(tmp_path: Path, raw: Path, pack: Callable[[Path], None]) -> None:
    pack(tmp_path / "packed")
    assert refused(tmp_path / "packed", raw, 5 * MIB) == f"unpacks to more than the {5 * MIB} bytes of its pin"
    assert raw.stat().st_blocks * 512 <= 9 * MIB


@pytest.mark.parametrize("pack", KINDS)
def test_another_size_or_content_is_told(tmp_path: Path, raw: Path, pack: Callable[[Path], None]) -> None:
    pack(tmp_path / "packed")
    longer = len(RAW) + 512
    assert refused(tmp_path / "packed", raw, longer) == f"unpacks to {len(RAW)} bytes, its pin says {longer}"
    raw.unlink()
    assert refused(tmp_path / "packed", raw, sha256="0" * 64).startswith(f"unpacks to sha256 {SHA256}")


@pytest.mark.parametrize("pack", KINDS[:-1])
@pytest.mark.parametrize("cut", [100, -100])
def test_a_file_that_is_cut_off_is_damaged(tmp_path: Path, raw: Path, pack: Callable[[Path], None], cut: int) -> None:
    pack(tmp_path / "packed")
    whole = (tmp_path / "packed").read_bytes()
    (tmp_path / "packed").write_bytes(whole[:cut])
    assert "is damaged" in refused(tmp_path / "packed", raw, None, None)


@pytest.mark.parametrize("pack", KINDS[:-1])
def test_one_flipped_byte_is_noticed(tmp_path: Path, raw: Path, pack: Callable[[Path], None]) -> None:
    pack(tmp_path / "packed")
    content = bytearray((tmp_path / "packed").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "packed").write_bytes(content)
    assert refused(tmp_path / "packed", raw)


def test_a_zip_whose_beginning_is_missing_is_damaged(tmp_path: Path, raw: Path) -> None:
    _zip(tmp_path / "packed")
    whole = (tmp_path / "packed").read_bytes()
    (tmp_path / "packed").write_bytes(b"PK\3\4" + whole[-300:])
    assert refused(tmp_path / "packed", raw).startswith("is damaged: ")


def test_a_zip_holds_one_image(tmp_path: Path, raw: Path) -> None:
    for names in ([], ["a.img", "b.img"]):
        with zipfile.ZipFile(tmp_path / "packed", "w") as archive:
            archive.writestr("x", "y")
            for name in names:
                archive.writestr(name, "z")
        assert refused(tmp_path / "packed", raw) == f"holds {len(names)} images"
        raw.unlink(missing_ok=True)
