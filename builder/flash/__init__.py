"""Put an image onto a disk, and onto no other one.

survey   what there is, and what stands on what        the door
guard    the reasons against this disk                 pure
device   opened exclusively, or not at all
content  what is on it, by its own bytes
writer   all but the first MiB, read back, and then the first MiB
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.errors import FlashRefusedError
from builder.flash import guard
from builder.flash.content import content_of
from builder.flash.device import Device, opened
from builder.flash.guard import DEFAULT_MAX_SIZE, Wanted
from builder.flash.source import Source, raw_image
from builder.flash.survey import look, protect, target_of
from builder.flash.writer import Written, write_disk
from builder.forms.image_file import raw
from builder.model.disks import BlockDevice, Content, Identity, Reason
from builder.model.manifest import Manifest
from builder.model.progress import Progress
from builder.store import Store

__all__ = ["DEFAULT_MAX_SIZE", "Listed", "Shown", "Wanted", "Written", "flash", "list_disks", "same_disk", "wanted_of"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A disk, what lsblk says is on it, and what speaks against it whatever the image."""

    device: BlockDevice
    holds: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody is to confirm. `gives_up` is the node whose guest's data would be lost, if any."""

    device: BlockDevice
    holds: str
    gives_up: str


def list_disks() -> tuple[Listed, ...]:
    """Disks with a medium. Raises BuildError when they cannot be told."""
    seen = look()
    real = [disk for disk in seen.disks if disk.size and not disk.sysfs.virtual]
    return tuple(
        Listed(disk, guard.holdings(disk), tuple(guard.refusals(seen, target_of(Path(disk.path)), Wanted())))
        for disk in real
    )


def wanted_of(manifest: Manifest, *, max_size: int, overwrite_existing: bool, expect_serial: str | None) -> Wanted:
    return Wanted(
        size=manifest.image.size,
        node=manifest.node,
        cluster=manifest.plan.get("settings", {}).get("cluster", ""),
        max_size=max_size,
        overwrite_existing=overwrite_existing,
        expect_serial=expect_serial,
    )


def flash(
    image: Path,
    manifest: Manifest,
    path: Path,
    wanted: Wanted,
    *,
    store: Store,
    in_use: Mapping[str, Path],
    confirm: Callable[[Shown], None],
    progress: Progress,
) -> Written:
    """Write the image to the disk at `path`, unless anything speaks against it. `in_use` is by what they are the files
    and folders that this run stands on; `confirm` raises FlashRefusedError when the disk is not the one that is meant.

    Raises FlashRefusedError, and then nothing was written; VerifyMismatchError, DownloadError when a compressed image
    is damaged, BuildError.
    """
    progress.step("flash", f"look at {path}")
    seen, target = look(), target_of(path)
    _refuse(guard.refusals(seen, target, wanted, protect(in_use, seen.disks)), path)
    disk = seen.find(target.number)
    assert disk is not None
    progress.step("flash", f"compare {image.name} with its manifest")
    with (
        raw(image, manifest.image, store, progress) as unpacked,
        raw_image(unpacked, manifest) as source,
        opened(Path(target.path)) as device,
    ):
        same_disk(disk.identity, device, path)
        content = _content(Path(target.path), device, manifest)
        _refuse([*guard.member_refusals(content), *guard.content_refusals(disk, content, wanted)], path)
        device.lock(str(path))
        confirm(_shown(disk, content))
        same_disk(disk.identity, device, path)
        return _write(source, device, path, progress)


def same_disk(shown: Identity, device: Device, path: Path) -> None:
    """Names go from one disk to another when cables do. What is open stays what it is, so that is compared.

    Raises FlashRefusedError.
    """
    try:
        row = look().find(device.number)
        size, diskseq = device.size, device.diskseq
    except OSError as gone:
        raise FlashRefusedError(f"is gone: {gone.strerror}", where=str(path)) from gone
    if row is None:
        raise FlashRefusedError("is gone", where=str(path))
    now, open_one = row.identity, replace(row.identity, size=size, diskseq=diskseq)
    if different := dict.fromkeys((*guard.changed(shown, now), *guard.changed(shown, open_one))):
        raise FlashRefusedError(f"is not the disk that was looked at: {'; '.join(different)}", where=str(path))


def _write(source: Source, device: Device, path: Path, progress: Progress) -> Written:
    device.pass_the_cache()
    try:
        return write_disk(source, device, progress, str(path))
    finally:
        device.reread_table()


def _content(path: Path, device: Device, manifest: Manifest) -> Content:
    try:
        return content_of(path, device, manifest.layout.boot_start)
    except OSError as broken:
        raise FlashRefusedError(f"cannot be read: {broken.strerror}; nothing was written", where=str(path)) from broken


def _shown(disk: BlockDevice, content: Content) -> Shown:
    record = content.record
    holds = record.describe() if record else guard.holdings(disk, content)
    return Shown(disk, holds, record.node if record and content.guest_bytes is not None else "")


def _refuse(reasons: Sequence[Reason], path: Path) -> None:
    if reasons:
        lines = "".join(f"\n  - it {reason.text}" for reason in reasons)
        raise FlashRefusedError(f"is not overwritten, and nothing was written:{lines}", where=str(path))
