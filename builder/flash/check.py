"""Read a flashed disk back against the manifest of its image.

Of free blocks an image has zeros and a disk what it had: they count as zeros. Where secrets were given to a disk, a few
chunks are no longer the image's: what of them is metadata has checksums of its own (metadata_csum), and the files of
the manifest are compared one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from builder.disk import ext4
from builder.disk.ext4 import BLOCK
from builder.flash.device import Device, opened
from builder.flash.source import extents_of
from builder.model.manifest import FileState, Manifest
from builder.model.pending import PendingFile
from builder.model.progress import Progress
from builder.verify import Mismatch, Report, contents, filesystems


def examine_disk(disk: Path, manifest: Manifest, progress: Progress) -> Report:
    """Every difference. Raises FlashRefusedError when it is in use, BuildError when it cannot be read."""
    path = disk.resolve()
    filled = _filled_chunks(path, manifest) if manifest.pending else frozenset()
    with opened(path, writable=False) as device:
        device.forget_cache()
        mismatches = [*_chunks(device, manifest, filled, progress), *filesystems(path, manifest.layout, progress)]
        mismatches += contents(path, _as_filled(manifest), progress)
    return Report(len(manifest.files), len(manifest.image.chunks), tuple(mismatches), len(filled))


def _chunks(device: Device, manifest: Manifest, filled: Set[int], progress: Progress) -> Iterator[Mismatch]:
    facts = manifest.image
    if device.size < facts.size:
        yield Mismatch("disk", "size", f"{facts.size} bytes or more", f"{device.size} bytes")
        return
    extents = extents_of(facts)
    with progress.bar("verify", total=facts.size) as advance:
        for number, wanted in enumerate(facts.chunks):
            start = number * facts.chunk_size
            end = min(start + facts.chunk_size, facts.size)
            got = hashlib.sha256(_chunk(device, start, end, extents)).hexdigest()
            if got != wanted and number not in filled:
                yield Mismatch(f"disk bytes {start}-{end - 1}", "sha256", wanted, got)
            advance(end - start)


def _chunk(device: Device, start: int, end: int, extents: Sequence[tuple[int, int]]) -> bytearray:
    chunk = bytearray(end - start)
    for first, last in extents:
        low, high = max(first, start), min(last, end)
        if low < high:
            chunk[low - start : high - start] = device.read(low, high - low)
    return chunk


def _filled_chunks(disk: Path, manifest: Manifest) -> frozenset[int]:
    """Those in which secrets, the folders of their files or the filesystem's tables are."""
    start = manifest.layout.root_start
    paths = {str(path) for pending in manifest.pending for path in (Path(pending.path), *Path(pending.path).parents)}
    blocks = ext4.blocks_of(disk, start, sorted(paths))
    ranges = [*((block, block) for block in blocks), *ext4.metadata_blocks(disk, start)]
    size = manifest.image.chunk_size
    return frozenset(
        number
        for low, high in ranges
        for number in range((start + low * BLOCK) // size, (start + high * BLOCK) // size + 1)
    )


def _as_filled(manifest: Manifest) -> Manifest:
    """What is still known of a file that a secret has changed: that it is there, and for whom."""
    changed = {pending.path for pending in manifest.pending}
    files = [
        file.model_copy(update={"sha256": None, "size": None}) if file.path in changed else file
        for file in manifest.files
    ]
    files += [
        FileState(
            volume="root",
            path=pending.path,
            type="file",
            mode=pending.mode,
            uid=pending.uid,
            gid=pending.gid,
            feature=pending.feature,
            origin=pending.origin,
        )
        for pending in manifest.pending
        if isinstance(pending, PendingFile)
    ]
    return manifest.model_copy(update={"files": tuple(files)})
