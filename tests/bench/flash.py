"""A node's image onto a disk, against dd and bmaptool on the same one: a loop device whose file is in memory, which is
faster than any SSD, and the same held back to the speed of one.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from builder.flash.device import opened
from builder.flash.source import image_source
from builder.flash.writer import Written, write_disk
from builder.image.forms import manifest_of
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.publish.bmap import block_map
from builder.publish.digests import digests_of
from tests.bench.compression import compressed
from tests.bench.measure import MIB, RUNS, Row, say, seconds, shell
from tests.bench.nodes import build_node
from tests.loop_device import loop_device

SSD = 300_000_000
"""Bytes in a second that a USB bridge with a SATA SSD takes and gives."""
_BLKIO = Path("/sys/fs/cgroup/blkio")
_ROOM = 64 * MIB  # on the disk, behind the image
DD = 'dd if="$1" of="$2" bs=4M iflag=skip_bytes,count_bytes oflag=seek_bytes,direct conv=notrunc,fsync status=none'
READ = 'dd if="$1" bs=4M iflag=skip_bytes,count_bytes,direct status=none'


def rows(work: Path, quick: bool) -> list[Row]:
    image = build_node(work, "node-003")
    manifest, runs = manifest_of(image), 3 if quick else RUNS
    bmap = work / "node-003.bmap"
    bmap.write_text(block_map(manifest.image, digests_of(image, manifest.image.allocated).extents))
    packed = work / "packed"
    packed.mkdir()
    with disk_in_memory(manifest.image.size + _ROOM) as disk:
        found = raw(image, bmap, manifest, disk, runs)
        for compression, unpack in (("zst", "zstd -dc"), ("xz", "xz -dc -T0")):
            if compression == "zst" or not quick:
                compressed(packed, ["node-003"], compression)
                found.append(unpacked(packed / f"node-003.img.{compression}", unpack, bmap, disk, 3))
        if _BLKIO.is_dir():
            found += raw(image, bmap, manifest, disk, 3, SSD)
    return found


def raw(image: Path, bmap: Path, manifest: Manifest, disk: Path, runs: int, limit: int | None = None) -> list[Row]:
    held = f" at {limit // 10**6} MB/s" if limit else ""
    say(f"an image onto a disk{held}, by us, dd and bmaptool")
    allocated = manifest.image.allocated
    write, read = by_range(DD, "skip seek", allocated), by_range(READ, "skip", allocated)

    def by_dd() -> tuple[float, float]:
        writing = seconds(lambda: shell(write, image, disk))
        return writing, writing + seconds(lambda: shell(f"({read}) | sha256sum", disk))

    def by_bmaptool() -> tuple[float, float]:
        taken = seconds(lambda: shell('bmaptool -q copy --bmap "$1" "$2" "$3"', bmap, image, disk))
        return taken, taken

    with throttled(disk, limit) if limit else nullcontext():
        ours, dd, other = medians_of_pairs(lambda: both(flashed(image, disk)), by_dd, by_bmaptool, runs=runs)
    size = sum(end - start for start, end in allocated)
    commands = (
        "builder.flash.writer.write_disk",
        f"{DD} skip=… seek=… count=…, for each of {len(allocated)} extents",
        "bmaptool copy --bmap node-003.bmap node-003.img DISK",
    )
    back = "dd iflag=direct of the same extents | sha256sum"
    return [
        Row(
            f"write {size / 1e6:.0f} MB of an image onto a disk{held} (median of {runs})",
            f"{ours[0]:.2f} s",
            f"{dd[0]:.2f} s (dd bs=4M oflag=direct conv=fsync); {other[0]:.2f} s (bmaptool)",
            f"{dd[0] / ours[0]:.2f}, {other[0] / ours[0]:.2f} times as fast",
            ">= 0.95 of dd",
            commands,
        ),
        Row(
            f"the same, and read it back{held}",
            f"{ours[1]:.2f} s",
            f"{dd[1]:.2f} s (dd, and {back})",
            f"{dd[1] / ours[1]:.2f} times as fast",
            "",
            (*commands[:2], back),
        ),
    ]


def unpacked(packed: Path, unpack: str, bmap: Path, disk: Path, runs: int) -> Row:
    say(f"{packed.name} onto a disk, by us, by {unpack} and dd, and by bmaptool")
    piped = f'{unpack} "$1" | dd of="$2" bs=4M iflag=fullblock oflag=direct conv=fsync status=none'

    def by_dd() -> tuple[float, float]:
        return seconds(lambda: shell(piped, packed, disk)), 0

    def by_bmaptool() -> tuple[float, float]:
        return seconds(lambda: shell('bmaptool -q copy --bmap "$1" "$2" "$3"', bmap, packed, disk)), 0

    ours, dd, other = medians_of_pairs(lambda: both(flashed(packed, disk)), by_dd, by_bmaptool, runs=runs)
    return Row(
        f"write a {packed.suffix} of {packed.stat().st_size / 1e6:.0f} MB onto a disk (median of {runs})",
        f"{ours[0]:.2f} s",
        f"{dd[0]:.2f} s ({unpack} | dd oflag=direct); {other[0]:.2f} s (bmaptool)",
        f"{dd[0] / ours[0]:.2f}, {other[0] / ours[0]:.2f} times as fast",
        "",
        ("builder.flash.writer.write_disk", piped, f"bmaptool copy --bmap node-003.bmap {packed.name} DISK"),
    )


def flashed(image: Path, disk: Path) -> Written:
    with image_source(image, manifest_of(image)) as source, opened(disk) as device:
        device.pass_the_cache()
        return write_disk(source, device, Silent(), str(disk))


def both(written: Written) -> tuple[float, float]:
    return written.writing, written.writing + written.verifying


def medians_of_pairs(*ways: Callable[[], tuple[float, float]], runs: int) -> list[tuple[float, float]]:
    """As `measure.medians`, of two figures of each way."""
    taken = [[way() for way in ways] for _ in range(runs)]
    columns = list(zip(*taken, strict=True))
    return [(statistics.median(a for a, _ in column), statistics.median(b for _, b in column)) for column in columns]


def by_range(command: str, offsets: str, extents: tuple[tuple[int, int], ...]) -> str:
    """The command once for each extent."""
    return "; ".join(
        f"{command} {' '.join(f'{word}={start}' for word in offsets.split())} count={end - start}"
        for start, end in extents
    )


@contextmanager
def disk_in_memory(size: int) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        os.truncate(file.fileno(), size)
        with loop_device(Path(file.name)) as disk:
            yield disk


@contextmanager
def throttled(disk: Path, limit: int) -> Iterator[None]:
    """This process and its children read and write so many bytes of the disk in a second (cgroup v1, blkio)."""
    status = disk.stat()
    group = Path(tempfile.mkdtemp(prefix="bench-", dir=_BLKIO))
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.split(":")[1] == "blkio")
    before = _BLKIO / line.split(":")[2].strip("/")
    try:
        for way in ("read", "write"):
            limits = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)} {limit}"
            (group / f"blkio.throttle.{way}_bps_device").write_text(limits)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
