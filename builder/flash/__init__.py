"""Write an image to a disk, and to no other disk.

survey   reads the block devices and their use from the kernel
guard    finds the reasons against a disk; pure
device   opens the disk exclusively
content  reads the content of the disk from its bytes
writer   writes all but the first MiB, reads it back, and then writes the first MiB
fill     writes the secrets that the image lacks, before the first MiB is written
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder.errors import ConfigurationError, FlashRefusedError
from builder.flash import flashed, guard
from builder.flash.content import content_of
from builder.flash.device import Device, opened
from builder.flash.fill import fill, pending_secrets
from builder.flash.flashed import Flashed
from builder.flash.guard import DEFAULT_MAX_SIZE, Wanted
from builder.flash.source import Source, image_source
from builder.flash.stamped import stamped_image
from builder.flash.survey import look, protect, target_of
from builder.flash.writer import Written, write_disk
from builder.host.scratch import private_folder
from builder.model.disks import BlockDevice, Content, Identity, Reason, Target
from builder.model.manifest import Manifest
from builder.model.patches import Resolve, refuse_secrets
from builder.model.progress import Progress

__all__ = [
    "DEFAULT_MAX_SIZE",
    "Job",
    "Listed",
    "Shown",
    "Wanted",
    "Written",
    "flash",
    "image_file",
    "list_disks",
    "pending_secrets",
    "require_free",
    "same_disk",
    "stamped_image",
]


@dataclass(frozen=True, slots=True)
class Listed:
    """A disk, its content by lsblk, and the reasons against it for every image."""

    device: BlockDevice
    holds: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The facts that a person confirms. `holds` describes the content of the disk, `owner` is its node, and `data` is
    that node's data, which no image restores. `others` are other disks with the node of the new image. `signed` names
    the signer of the image; it is "" for a node that is built here."""

    device: BlockDevice
    holds: str
    owner: str
    data: tuple[str, ...]
    others: tuple[Flashed, ...] = ()
    signed: str = ""


def list_disks() -> tuple[Listed, ...]:
    """The disks with a medium. Raises BuildError when lsblk fails."""
    seen = look()
    real = [disk for disk in seen.disks if disk.size and not disk.sysfs.virtual]
    return tuple(
        Listed(disk, guard.holdings(disk), tuple(guard.refusals(seen, target_of(Path(disk.path)), Wanted())))
        for disk in real
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One image for one disk. `image` is opened after the disk has been checked without opening it. `secrets` resolves
    the secrets that the image lacks. `log` is the folder with the list of flashed disks. `signed` is as in Shown."""

    manifest: Manifest
    image: AbstractContextManager[Source]
    secrets: Resolve = refuse_secrets
    log: Path | None = None
    signed: str = ""


@contextmanager
def image_file(image: Path, manifest: Manifest, progress: Progress) -> Iterator[Source]:
    """An image of any form, compared with its manifest. Raises VerifyMismatchError, DownloadError."""
    progress.step("flash", f"compare {image.name} with its manifest")
    with image_source(image, manifest) as source:
        yield source


def flash(
    job: Job,
    path: Path,
    wanted: Wanted,
    *,
    in_use: Mapping[str, Path],
    confirm: Callable[[Shown], None],
    progress: Progress,
) -> Written:
    """Write the image to the disk at `path`, unless there is a reason against it. `in_use` has the files and folders
    that this run needs, by a name for messages. `confirm` raises FlashRefusedError if the user does not confirm the
    disk.

    Raises FlashRefusedError before anything is written; VerifyMismatchError; DownloadError for a damaged compressed
    image; BuildError.
    """
    manifest = job.manifest
    progress.step("flash", f"look at {path}")
    disk, target = require_free(path, wanted, in_use)
    with job.image as source, opened(Path(target.path)) as device:
        same_disk(disk.identity, device, path)
        content = _content(device, manifest, path)
        _refuse([*guard.member_refusals(content), *guard.content_refusals(disk, content, wanted)], path)
        device.lock(str(path))
        others = flashed.others(job.log, manifest, disk.identity) if job.log else []
        confirm(replace(_shown(disk, content), others=tuple(others), signed=job.signed))
        same_disk(disk.identity, device, path)
        written = _write(job, source, device, disk.identity, path, progress)
        if job.log:
            _log(job.log, flashed.entry(manifest, disk.identity), progress)
        return written


def _log(folder: Path, line: Flashed, progress: Progress) -> None:
    """Add a line to the list of flashed disks. A failure is only a warning, because the disk itself is good."""
    try:
        flashed.append(folder, line)
    except (OSError, ConfigurationError) as refused:
        progress.step("warning", f"{folder / flashed.NAME} does not know of this disk: {refused}")


def require_free(path: Path, wanted: Wanted, in_use: Mapping[str, Path]) -> tuple[BlockDevice, Target]:
    """The disk, checked without opening it. Raises FlashRefusedError if there is a reason against it."""
    seen, target = look(), target_of(path)
    _refuse(guard.refusals(seen, target, wanted, protect(in_use, seen.disks)), path)
    disk = seen.find(target.number)
    assert disk is not None
    return disk, target


def same_disk(shown: Identity, device: Device, path: Path) -> None:
    """Compare the open device with the disk that was shown. A name can move to another disk when cables are moved, but
    an open device stays the same.

    Raises FlashRefusedError when they differ.
    """
    row = look().find(device.number)
    try:
        size, diskseq = device.size, device.diskseq
    except OSError as gone:
        raise FlashRefusedError(f"is gone: {gone.strerror}", where=str(path)) from gone
    if row is None:
        raise FlashRefusedError("is gone", where=str(path))
    now, open_one = row.identity, replace(row.identity, size=size, diskseq=diskseq)
    if different := dict.fromkeys((*guard.changed(shown, now), *guard.changed(shown, open_one))):
        raise FlashRefusedError(f"is not the disk that was looked at: {'; '.join(different)}", where=str(path))


def _write(  # noqa: PLR0917
    job: Job, source: Source, device: Device, shown: Identity, path: Path, progress: Progress
) -> Written:
    def give_secrets() -> None:
        if job.manifest.pending:
            progress.step("flash", f"give it {len(job.manifest.pending)} secrets")
            same_disk(shown, device, path)
            with private_folder() as work:
                fill(device.path, job.manifest, job.secrets, work=work, forget_cache=device.forget_cache)

    device.pass_the_cache()
    try:
        return write_disk(source, device, progress, str(path), give_secrets)
    finally:
        device.reread_table()


def _content(device: Device, manifest: Manifest, path: Path) -> Content:
    try:
        return content_of(device, manifest.layout.boot_start)
    except OSError as broken:
        raise FlashRefusedError(f"cannot be read: {broken.strerror}; nothing was written", where=str(path)) from broken


def _shown(disk: BlockDevice, content: Content) -> Shown:
    record = content.record
    holds = record.describe() if record else guard.holdings(disk, content)
    return Shown(disk, holds, record.node if record else "", tuple(guard.node_data(content)) if record else ())


def _refuse(reasons: Sequence[Reason], path: Path) -> None:
    if reasons:
        lines = "".join(f"\n  - it {reason.text}" for reason in reasons)
        raise FlashRefusedError(f"is not overwritten, and nothing was written:{lines}", where=str(path))
