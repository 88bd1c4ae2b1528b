"""Compare a flashed disk with the manifest of its image.

In free blocks an image has zeros, and a disk has its former content; these blocks count as zeros. Secrets that `flash`
has written change a few chunks of the root volume. Checksums (metadata_csum) protect the metadata in these chunks, and
the files of the manifest are compared one by one.

All bytes are compared before a tool reads a filesystem. If bytes differ that no secret can have changed, no tool does.
If chunks of the root volume differ, only the appliance reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.errors import BuildError
from builder.flash.device import Device, opened
from builder.flash.source import extents_of
from builder.fs import ext4
from builder.fs.ext4 import BLOCK
from builder.machines.appliance import Appliance
from builder.model.manifest import FileState, Manifest
from builder.model.pending import PendingFile
from builder.model.progress import Progress
from builder.verify import Mismatch, Report, boot_filesystem, contents, contents_in, filesystems


def examine_disk(disk: Path, manifest: Manifest, progress: Progress) -> Report:
    """The differences of the disk. Raises FlashRefusedError when it is in use, BuildError when it cannot be read."""
    files, chunks = len(manifest.files), len(manifest.image.chunks)
    with opened(disk.resolve(), writable=False) as device:
        device.forget_cache()
        if device.size < manifest.image.size:
            short = Mismatch("disk", "size", f"{manifest.image.size} bytes or more", f"{device.size} bytes")
            return Report(files, chunks, (short,))
        differing = dict(_differing(device, manifest, progress))
        wrong = [found for number, found in differing.items() if not _may_be_filled(number, manifest)]
        if wrong:
            return Report(files, chunks, tuple(wrong))
        if differing:
            return _examine_filled(device.path, manifest, differing, progress)
        mismatches = list(filesystems(device.path, manifest.layout, progress))
        mismatches += contents(device.path, _as_filled(manifest), progress)
    return Report(files, chunks, tuple(mismatches))


def _examine_filled(disk: Path, manifest: Manifest, differing: dict[int, Mismatch], progress: Progress) -> Report:
    """The report for a disk on which only chunks of the root volume differ, if its image lacked secrets."""
    start = manifest.layout.root_start
    with Appliance(disk, progress) as appliance:
        try:
            filled = _filled_chunks(lambda requests: appliance.debugfs(requests, start), manifest)
            wrong = [found for number, found in differing.items() if number not in filled]
        except BuildError as broken:
            wrong = [*differing.values(), Mismatch("root", "filesystem", "readable", broken.message)]
        if not wrong:
            if said := appliance.e2fsck(start):
                wrong.append(Mismatch("root", "e2fsck status", "0", said))
            wrong += boot_filesystem(disk, manifest.layout)
            wrong += contents_in(appliance, _as_filled(manifest), progress)
    return Report(len(manifest.files), len(manifest.image.chunks), tuple(wrong), len(differing))


def _differing(device: Device, manifest: Manifest, progress: Progress) -> Iterator[tuple[int, Mismatch]]:
    """The differing chunks, by number."""
    facts = manifest.image
    extents = extents_of(facts)
    with progress.bar("verify", total=facts.size) as advance:
        for number, wanted in enumerate(facts.chunks):
            start = number * facts.chunk_size
            end = min(start + facts.chunk_size, facts.size)
            got = hashlib.sha256(_chunk(device, start, end, extents)).hexdigest()
            if got != wanted:
                yield number, Mismatch(f"disk bytes {start}-{end - 1}", "sha256", wanted, got)
            advance(end - start)


def _may_be_filled(number: int, manifest: Manifest) -> bool:
    """Whether a secret may have changed this chunk: the image lacked secrets, and the chunk is in the root volume."""
    start, layout = number * manifest.image.chunk_size, manifest.layout
    reaches_root = start + manifest.image.chunk_size > layout.root_start
    return bool(manifest.pending) and reaches_root and start < layout.root_start + layout.root_size


def _chunk(device: Device, start: int, end: int, extents: Sequence[tuple[int, int]]) -> bytearray:
    chunk = bytearray(end - start)
    for first, last in extents:
        low, high = max(first, start), min(last, end)
        if low < high:
            chunk[low - start : high - start] = device.read(low, high - low)
    return chunk


def _filled_chunks(debugfs: Callable[[str], str], manifest: Manifest) -> frozenset[int]:
    """Numbers of the chunks with files of secrets, with the folders of these files, or with the filesystem's tables."""
    start = manifest.layout.root_start
    paths = {str(path) for pending in manifest.pending for path in (Path(pending.path), *Path(pending.path).parents)}
    blocks = ext4.blocks_of(debugfs, sorted(paths))
    ranges = [*((block, block) for block in blocks), *ext4.metadata_blocks(debugfs)]
    size, count = manifest.image.chunk_size, len(manifest.image.chunks)
    return frozenset(
        number
        for low, high in ranges
        for number in range((start + low * BLOCK) // size, min((start + high * BLOCK) // size + 1, count))
    )


def _as_filled(manifest: Manifest) -> Manifest:
    """The manifest for a disk with its secrets. A file that a secret changes has no size and no sha256; its owner and
    mode stay known."""
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
