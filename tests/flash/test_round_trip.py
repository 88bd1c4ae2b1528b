"""An image in each of its forms, flashed onto a disk of zeros and one of something else, is the same disk, as is what
bmaptool makes of it by our map.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from builder import boot
from builder.build import BuildOptions, build
from builder.cli import main
from builder.flash.source import extents_of, zeros_between
from builder.host.run import run
from builder.image.forms import Compression, manifest_of
from builder.model.manifest import Extent, Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.publish.bmap import block_map
from builder.publish.digests import digests_of
from builder.store import upkeep
from tests import tiny_image
from tests.boot.test_life import KEY, failures
from tests.conftest import SHIPPED
from tests.flash.test_flash import write_manifest
from tests.loop_device import loop_device
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

MIB = 1024**2
FORMS = (".img", ".img.zst", ".img.xz")
PACK = {".img.zst": ("zstd", "-q", "-k"), ".img.xz": ("xz", "-0", "-k")}
COMPRESSIONS: dict[str, Compression | None] = {".img": None, ".img.zst": "zst", ".img.xz": "xz"}
DIRT = random.Random(3).randbytes(MIB)
TARGETS = {"zeros": bytes(MIB), "dirt": DIRT}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """node-003.img of 24 MiB, and its other forms beside it."""
    image = tmp_path_factory.mktemp("tiny") / "node-003.img"
    tiny_image.make_image(image)
    write_manifest(image)
    for words in PACK.values():
        run([*words, image])
    return image


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """real(FORM) is the worker node-003 on plain Debian."""
    output = tmp_path_factory.mktemp("real")

    def made(form: str) -> Path:
        folder = output / form.strip(".")
        compression = COMPRESSIONS[form]
        options = BuildOptions(
            output=folder, cache=upkeep.default_root(), role="worker", base=DEBIAN, compression=compression
        )
        (one,) = build(Project(SHIPPED), ["node-003"], options, Silent())
        return one.image

    return made


def disk_of(file: Path, size: int, filling: bytes) -> Path:
    with file.open("xb") as new:
        for _ in range(size // MIB):
            new.write(filling)
    return file


def flash(image: Path, device: Path, size: int) -> None:
    words = ("--expect-serial", str(size), "--overwrite-existing", "--quiet", "--project", str(image.parent))
    assert main(["flash", str(image), str(device), *words]) == 0


def sha256(file: Path, extents: Sequence[Extent]) -> str:
    """The sha256 of these bytes, as the medium has them."""
    total = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for start, end in extents:
            opened.seek(start)
            for piece in _pieces(end - start):
                total.update(opened.read(piece))
    return total.hexdigest()


def _pieces(length: int) -> Iterator[int]:
    yield from (min(MIB, length - done) for done in range(0, length, MIB))


def require_the_disk(device: Path, image: Path, manifest: Manifest, size: int, filling: bytes) -> None:
    """All that the filesystems have allocated, zeros where nothing may stay; elsewhere what was there."""
    extents = extents_of(manifest.image)
    zeros = [*zeros_between(extents, manifest), (size - MIB, size)]
    assert sha256(device, extents) == sha256(image, extents)
    assert sha256(device, zeros) == hashlib.sha256(bytes(sum(end - start for start, end in zeros))).hexdigest()
    rest = [(start, start + MIB) for start in range(-(-manifest.image.size // MIB) * MIB, size - MIB, MIB)]
    assert sha256(device, rest) == hashlib.sha256(filling * len(rest)).hexdigest()
    run(["e2fsck", "-fn", f"{device}?offset={manifest.layout.root_start}"])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_each_form_makes_the_same_disk(form: str, target: str, tiny: Path, tmp_path: Path) -> None:
    size, filling = 40 * MIB, TARGETS[target]
    with loop_device(disk_of(tmp_path / "disk", size, filling)) as device:
        flash(tiny.with_suffix(form), device, size)
        require_the_disk(device, tiny, manifest_of(tiny), size, filling)


@pytest.mark.parametrize("target", TARGETS)
def test_bmaptool_makes_the_same_disk(target: str, tiny: Path, tmp_path: Path) -> None:
    by_map(tiny, tiny, TARGETS[target], 40 * MIB, tmp_path)


def by_map(raw: Path, copied: Path, filling: bytes, size: int, folder: Path) -> None:
    manifest = manifest_of(copied)
    (folder / "image.bmap").write_text(block_map(manifest.image, digests_of(raw, manifest.image.allocated).extents))
    with loop_device(disk_of(folder / "disk", size, filling)) as device:
        run(["bmaptool", "copy", "--bmap", folder / "image.bmap", copied, device])
        assert sha256(device, manifest.image.allocated) == sha256(raw, manifest.image.allocated)


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_built_image_makes_the_same_disk(
    form: str, target: str, real: Callable[[str], Path], tmp_path: Path
) -> None:
    raw, image = real(".img"), real(form)
    manifest = manifest_of(image)
    assert manifest == manifest_of(raw)
    size, filling = (-(-manifest.image.size // MIB) + 64) * MIB, TARGETS[target]
    with loop_device(disk_of(tmp_path / "disk", size, filling)) as device:
        flash(image, device, size)
        require_the_disk(device, raw, manifest, size, filling)


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
def test_bmaptool_makes_the_same_disk_of_each_form_of_a_built_image(
    form: str, real: Callable[[str], Path], tmp_path: Path
) -> None:
    raw = real(".img")
    by_map(raw, real(form), DIRT, (-(-raw.stat().st_size // MIB) + 64) * MIB, tmp_path)


@pytest.mark.soak
@pytest.mark.boot
@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_was_flashed_from_each_form_boots(form: str, real: Callable[[str], Path], tmp_path: Path) -> None:
    """From the device itself, which was full of something else; what the Pi writes goes to a scratch disk over it."""
    image = real(form)
    manifest = manifest_of(image)
    size = (-(-manifest.image.size // MIB) + 64) * MIB
    with loop_device(disk_of(tmp_path / "disk", size, DIRT)) as device:
        flash(image, device, size)
        assert failures(boot.check(device, manifest, KEY, tmp_path, Silent())) == []
