"""A compressed image gives its chunks whoever compressed it, and none when it is not what it was."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from builder.errors import DownloadError, VerifyMismatchError
from builder.flash.source import image_source
from builder.image import reading
from builder.image.forms import Compression
from builder.image.reading import compressed_chunks
from builder.model.manifest import CHUNK_SIZE, ImageFacts
from tests.packed import MIB, PACKERS, ours
from tests.tiny_image import manifest_of

NOISE = random.Random(3).randbytes(300_000)
IMAGE = NOISE + bytes(CHUNK_SIZE - 400_000) + NOISE[::-1] + bytes(5 * MIB) + NOISE[:70_001]
FACTS = ImageFacts(size=len(IMAGE), chunk_size=CHUNK_SIZE, digest="0" * 64, chunks=(), allocated=())
CHUNKS = [IMAGE[start : start + CHUNK_SIZE] for start in range(0, len(IMAGE), CHUNK_SIZE)]


@pytest.fixture(scope="module", params=PACKERS)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compression, pack = PACKERS[request.param]
    file = tmp_path_factory.mktemp("packed") / f"node.img.{compression}"
    file.write_bytes(pack(IMAGE))
    return file


@pytest.fixture
def small(packed: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    copy = tmp_path / packed.name
    copy.write_bytes(packed.read_bytes())
    return copy


def read(file: Path, *numbers: int, facts: ImageFacts = FACTS) -> list[bytes]:
    buffer = memoryview(bytearray(CHUNK_SIZE))
    end = (numbers[-1] + 1) * CHUNK_SIZE
    with compressed_chunks(file, facts, end) as chunks:
        return [bytes(buffer[: chunks.read(number, buffer)]) for number in numbers]


def test_every_chunk_is_that_of_the_image(packed: Path) -> None:
    assert read(packed, *range(len(CHUNKS))) == CHUNKS


@pytest.mark.parametrize("numbers", [(1,), (0, 2), (2,)])
def test_chunks_that_nobody_wants_are_left_out(packed: Path, numbers: tuple[int, ...]) -> None:
    assert read(packed, *numbers) == [CHUNKS[number] for number in numbers]


@pytest.mark.parametrize("compression", ["zst", "xz"])
def test_of_ours_no_other_frame_is_unpacked(
    compression: Compression, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, unpacked = tmp_path / f"node.img.{compression}", []
    file.write_bytes(ours(IMAGE, compression))
    name = f"_unpacked_{compression}"
    honest = getattr(reading, name)

    def counting(data: bytes) -> bytes:
        unpacked.append(data)
        return honest(data)  # type: ignore[no-any-return]

    monkeypatch.setattr(reading, name, counting)
    assert read(file, 2, 0) == [CHUNKS[2], CHUNKS[0]]
    assert len(unpacked) == 2


def test_a_file_that_is_cut_off_anywhere_gives_nothing(small: Path) -> None:
    whole = small.read_bytes()
    for length in (*random.Random(4).sample(range(1, len(whole)), 40), 3, 17, len(whole) - 1):
        small.write_bytes(whole[:length])
        with pytest.raises((DownloadError, VerifyMismatchError), match=f"{small.name}: (is damaged: |unpacks to )"):
            read(small, 0)


def test_no_changed_bit_comes_through(small: Path, tmp_path: Path) -> None:
    """The manifest has a checksum for each byte for which the file has none."""
    raw, whole, found = tmp_path / "raw.img", small.read_bytes(), 0
    raw.write_bytes(IMAGE)
    manifest, buffer = manifest_of(raw), memoryview(bytearray(CHUNK_SIZE))
    for place in random.Random(5).sample(range(len(whole)), 25):
        small.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            with image_source(small, manifest) as source:
                for start, chunk in zip(range(0, len(IMAGE), CHUNK_SIZE), CHUNKS, strict=True):
                    source.read([(start, start + len(chunk))], buffer)
                    assert buffer[: len(chunk)] == chunk
        except (DownloadError, VerifyMismatchError):
            found += 1
    assert found > 20


@pytest.mark.parametrize("size", [len(IMAGE) - 1, len(IMAGE) + 1, len(IMAGE) + CHUNK_SIZE])
def test_another_size_than_the_manifest_says_is_found(packed: Path, size: int) -> None:
    with pytest.raises(
        (DownloadError, VerifyMismatchError), match=f"unpacks to .*{size}|unpacks to more than .*{size}"
    ):
        read(packed, 0, facts=FACTS.model_copy(update={"size": size}))


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"no such thing" * 10, b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
@pytest.mark.parametrize("compression", ["zst", "xz"])
def test_what_is_no_such_file_is_said(compression: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"node.img.{compression}"
    file.write_bytes(content)
    with pytest.raises((DownloadError, VerifyMismatchError), match=r"node.img\.\w+: (is damaged|unpacks to 0 bytes)"):
        read(file, 0)
