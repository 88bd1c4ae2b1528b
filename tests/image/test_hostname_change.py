"""Another name changes of an image what the name is in, and not a block more: told by debugfs and by the FAT itself,
which know nothing of stamps.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from builder.build import BuildOptions, build
from builder.host.run import run
from builder.image.forms import manifest_of
from builder.model.manifest import CHUNK_SIZE, FileState, Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from tests.conftest import copy_shipped
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

BLOCK, SECTOR = 4096, 512
PLAIN = "role: worker\nk3s: null\n"
OTHERS = {
    "hostname of the same length": ("node-003", f"{PLAIN}hostname: node-093\n"),
    "longer hostname": ("node-003", f"{PLAIN}hostname: node-003-of-the-upper-shelf\n"),
    "another node": ("node-004", PLAIN),
}
OF_THE_HOSTNAME = {"root:/etc/hostname", "root:/etc/hosts", "boot:/pimu-id.json"}
OF_THE_NAME = OF_THE_HOSTNAME | {
    "boot:/cmdline.txt",
    "root:/etc/NetworkManager/system-connections/br0.nmconnection",
    "root:/etc/default/raspi-extra-cmdline",
    "root:/etc/fstab",
    "root:/etc/pimu/node.conf",
    "root:/usr/share/pimu/guest/seed.img",
}
Make = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def make(locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """make(NODE, its file) gives NODE.img.zst, beside which NODE.img is unpacked."""

    def made(node: str, text: str) -> Path:
        project = copy_shipped(tmp_path_factory.mktemp("project"))
        shutil.copy(locked, project)
        (project / f"profiles/nodes/{node}.yaml").write_text(text)
        options = BuildOptions(
            output=project / "output", cache=upkeep.default_root(), base=DEBIAN, compression="zst", offline=True
        )
        (one,) = build(Project(project), [node], options, Silent())
        run(["zstd", "-q", "-d", "--sparse", one.image])
        return one.image

    return made


@pytest.fixture(scope="module")
def first(make: Make) -> Path:
    return make("node-003", PLAIN)


@pytest.mark.parametrize("other", OTHERS)
def test_another_name_changes_the_blocks_that_it_is_in_and_no_other(other: str, first: Path, make: Make) -> None:
    second = make(*OTHERS[other])
    a, b = manifest_of(first), manifest_of(second)
    raw_a, raw_b = first.with_suffix(""), second.with_suffix("")
    changed = {key for key in of_files(a) if of_files(a)[key] != of_files(b)[key]}
    assert of_files(a).keys() == of_files(b).keys()
    assert changed == (OF_THE_NAME if other == "another node" else OF_THE_HOSTNAME)

    expected = {0} if a.layout.disk_id != b.layout.disk_id else set()
    for key in changed:
        volume, _, path = key.partition(":")
        places = blocks_on_root if volume == "root" else blocks_on_boot
        left, right = places(raw_a, a, path), places(raw_b, b, path)
        assert [place for place, _ in left] == [place for place, _ in right], key  # what was there first is still there
        expected |= {place // BLOCK for (place, old), (_, new) in zip(left, right, strict=True) if old != new}

    found = set(different_blocks(raw_a, raw_b, a, b))
    assert found == expected
    chunks = {block * BLOCK // CHUNK_SIZE for block in expected}
    assert differing(a.image.chunks, b.image.chunks) == chunks
    assert differing(frames_of(first), frames_of(second)) == chunks
    assert len(chunks) <= len(changed) + 2


def differing(a: Iterable[object], b: Iterable[object]) -> set[int]:
    return {number for number, (one, other) in enumerate(zip(a, b, strict=True)) if one != other}


def of_files(manifest: Manifest) -> dict[str, FileState]:
    return {f"{file.volume}:{file.path}": file.model_copy(update={"origin": ""}) for file in manifest.files}


def blocks_on_root(image: Path, manifest: Manifest, path: str) -> list[tuple[int, bytes]]:
    """Offsets and contents of the file's blocks, of that of its inode, and of its folder's."""
    start = manifest.layout.root_start
    folder = path.rpartition("/")[0] or "/"
    numbers = [int(word) for name in (path, folder) for word in debugfs(image, start, f"blocks {name}").split()]
    (inode,) = re.findall(r"located at block (\d+),", debugfs(image, start, f"imap {path}"))
    return list(contents(image, [start + number * BLOCK for number in [*numbers, int(inode)]], BLOCK))


def debugfs(image: Path, start: int, request: str) -> str:
    return run(["debugfs", "-R", request, f"{image}?offset={start}"]).text


def blocks_on_boot(image: Path, manifest: Manifest, path: str) -> list[tuple[int, bytes]]:
    """Offsets and contents of the file's clusters, and of those of the root folder."""
    start = manifest.layout.boot_start
    with image.open("rb") as file:
        file.seek(start)
        head = file.read(SECTOR)
    per_cluster, reserved, tables = head[13], int.from_bytes(head[14:16], "little"), head[16]
    data = start + (reserved + tables * int.from_bytes(head[36:40], "little")) * SECTOR
    clusters: list[int] = []
    for name in (path, "/"):
        shown = run(["mshowfat", "-i", f"{image}@@{start}", f"::{name}"]).text
        for first, last in re.findall(r"<(\d+)(?:-(\d+))?>", shown):
            clusters += range(int(first), int(last or first) + 1)
    size = per_cluster * SECTOR
    places = [data + (cluster - 2) * size for cluster in clusters]
    return list(contents(image, [place + within for place in places for within in range(0, size, SECTOR)], SECTOR))


def contents(image: Path, places: list[int], length: int) -> Iterator[tuple[int, bytes]]:
    with image.open("rb", buffering=0) as file:
        for place in places:
            file.seek(place)
            yield place, file.read(length)


def different_blocks(a: Path, b: Path, of_a: Manifest, of_b: Manifest) -> Iterator[int]:
    """By reading all of both."""
    assert of_a.image.size == of_b.image.size == a.stat().st_size == b.stat().st_size
    with a.open("rb", buffering=0) as left, b.open("rb", buffering=0) as right:
        for start in range(0, of_a.image.size, CHUNK_SIZE):
            one, other = left.read(CHUNK_SIZE), right.read(CHUNK_SIZE)
            if one != other:
                for within in range(0, len(one), BLOCK):
                    if one[within : within + BLOCK] != other[within : within + BLOCK]:
                        yield (start + within) // BLOCK


def frames_of(packed: Path) -> Iterator[bytes]:
    """The frames of a .img.zst, each as it is."""
    data, place = packed.read_bytes(), 0
    while place < len(data):
        window = data[place : place + 2 * CHUNK_SIZE]
        reader = zstandard.ZstdDecompressor().decompressobj()
        assert len(reader.decompress(window)) <= CHUNK_SIZE
        assert reader.eof
        frame = window[: len(window) - len(reader.unused_data)]
        yield frame
        place += len(frame)
