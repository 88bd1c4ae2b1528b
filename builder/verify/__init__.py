"""Compare a finished image with its manifest, with other programs than those that made it.

The digests prove every byte. The appliance's kernel proves that the filesystems have the files of the edits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError, VerifyMismatchError
from builder.fs import ext4
from builder.fs.chunks import digests, is_image
from builder.host.run import Result, run
from builder.host.scratch import VERIFY, scratch_folder
from builder.machines.appliance import VOLUMES, Appliance
from builder.model.manifest import DiskFacts, FileState, ImageFacts, Manifest, image_digest
from builder.model.progress import Progress

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A difference. `where` is volume:path or a part of the disk. `asked` names the feature and the profile that set
    the expected value, if any."""

    where: str
    what: str
    expected: str
    found: str
    asked: str = ""

    def describe(self) -> str:
        asked = f" (asked by {self.asked})" if self.asked else ""
        return f"{self.where}: {self.what} is {self.found}, not {self.expected}{asked}"


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a comparison. `files` and `chunks` are numbers of compared things. `filled` is the number of chunks
    that are not compared, because secrets have changed them."""

    files: int
    chunks: int
    mismatches: tuple[Mismatch, ...]
    filled: int = 0


def verify(image: Path, manifest: Manifest, progress: Progress) -> Report:
    """Compare everything. Raises VerifyMismatchError, which lists the differences, and MissingToolError or BuildError
    when the image cannot be read."""
    report = examine(image, manifest, progress)
    require_alike(image, report)
    return report


def require_alike(image: Path, report: Report) -> None:
    """Raises VerifyMismatchError, which lists the differences of `report`, if it has any."""
    if report.mismatches:
        lines = [f"\n  {mismatch.describe()}" for mismatch in report.mismatches[:_SHOWN]]
        rest = len(report.mismatches) - len(lines)
        raise VerifyMismatchError(
            f"differs from its manifest in {len(report.mismatches)} places:{''.join(lines)}"
            + (f"\n  and {rest} more" if rest else ""),
            where=str(image),
            hint="do not flash it; build it again",
        )


def examine(image: Path, manifest: Manifest, progress: Progress) -> Report:
    """The differences between image and manifest. The filesystems are read only if every byte is as expected: an
    attacker could prepare the filesystem of a changed image to exploit its reader."""
    mismatches = list(byte_mismatches(image, manifest.image, progress))
    if not mismatches:
        mismatches += filesystems(image, manifest.layout, progress)
        mismatches += contents(image, manifest, progress)
    return Report(len(manifest.files), len(manifest.image.chunks), tuple(mismatches))


def require_digests(image: Path, manifest: Manifest, *, where: str) -> None:
    """Raises VerifyMismatchError, at `where`, unless every byte of a raw image matches its manifest."""
    facts = manifest.image
    if image_digest(facts.chunks) != facts.digest or not is_image(image, facts):
        raise VerifyMismatchError(
            "is not the image of its manifest",
            where=where,
            hint="build it again; `pimu-build verify` names the differences",
        )


def byte_mismatches(image: Path, facts: ImageFacts, progress: Progress) -> Iterator[Mismatch]:
    """Differences of a raw image's chunks, size and digest from its manifest."""
    size = image.stat().st_size
    if size != facts.size:
        yield Mismatch("image", "size", f"{facts.size} bytes", f"{size} bytes")
    if image_digest(facts.chunks) != facts.digest:
        yield Mismatch("manifest", "digest over its chunks", facts.digest, image_digest(facts.chunks))
    progress.step("verify", f"digest {len(facts.chunks)} chunks")
    for number, (wanted, got) in enumerate(zip(facts.chunks, digests(image), strict=False)):
        if wanted != got:
            start = number * facts.chunk_size
            yield Mismatch(f"image bytes {start}-{start + facts.chunk_size - 1}", "sha256", wanted, got)


def filesystems(image: Path, layout: DiskFacts, progress: Progress) -> Iterator[Mismatch]:
    """Faults that fsck finds in the two filesystems of an image or a disk. It reads both in full."""
    progress.step("verify", "fsck both volumes")
    yield from root_filesystem(image, layout)
    yield from boot_filesystem(image, layout)


def root_filesystem(image: Path, layout: DiskFacts) -> Iterator[Mismatch]:
    """Check a root volume with the host's e2fsck. Its bytes must have been verified before."""
    yield from _fsck("root", run(["e2fsck", "-fn", ext4.volume(image, layout.root_start)], check=False))


def boot_filesystem(image: Path, layout: DiskFacts) -> Iterator[Mismatch]:
    """Check a boot volume with the host's fsck.vfat. Its bytes must have been verified before."""
    with scratch_folder(VERIFY) as scratch:
        volume = scratch / "boot.fat"  # fsck.vfat knows no offsets
        window = [f"skip={layout.boot_start}", f"count={layout.boot_size}", "iflag=skip_bytes,count_bytes"]
        run(["dd", f"if={image}", f"of={volume}", "bs=1M", *window, "conv=sparse", "status=none"])
        yield from _fsck("boot", run(["fsck.vfat", "-n", volume], check=False))


def _fsck(volume: str, result: Result) -> Iterator[Mismatch]:
    if result.returncode != 0:
        said = (result.stdout + result.stderr).decode(errors="replace").strip()
        yield Mismatch(volume, f"{result.argv[0]} status", "0", f"{result.returncode}: {said}")


def contents(image: Path, manifest: Manifest, progress: Progress) -> list[Mismatch]:
    """Differences between a manifest and an image or a disk, in the partition table and in every path, as the
    appliance's kernel reads them. Raises BuildError when the appliance fails."""
    with Appliance(image, progress) as appliance:
        return list(contents_in(appliance, manifest, progress))


def contents_in(appliance: Appliance, manifest: Manifest, progress: Progress) -> Iterator[Mismatch]:
    """Compare as `contents` does, in an appliance that already runs."""
    try:
        found = appliance.disk_facts()
    except BuildError as broken:
        yield Mismatch("disk", "partition table", "that of the manifest", broken.message)
        return
    for field, wanted in manifest.layout:
        if getattr(found, field) != wanted:
            yield Mismatch("disk", field, str(wanted), str(getattr(found, field)))
    with progress.bar("verify", total=len(manifest.files), unit=" files") as advance:
        for volume in VOLUMES:
            files = [file for file in manifest.files if file.volume == volume]
            try:
                with appliance.mounted(volume):
                    for file in files:
                        yield from _file(appliance, file)
                        advance(1)
            except BuildError as broken:
                yield Mismatch(volume, "filesystem", "readable", broken.message)


def _file(appliance: Appliance, wanted: FileState) -> Iterator[Mismatch]:
    def differs(what: str, expected: object, found: object) -> Iterator[Mismatch]:
        if expected is not None and expected != found:
            asked = f"{wanted.feature}, {wanted.origin}"
            yield Mismatch(f"{wanted.volume}:{wanted.path}", what, str(expected), str(found), asked)

    status = appliance.status(wanted.path)
    found_type = status.type if status is not None else "absent"
    if status is None or found_type != wanted.type:
        yield from differs("type", wanted.type, found_type)
        return
    if wanted.volume == "root":  # FAT keeps neither modes nor owners
        yield from differs("mode", _octal(wanted.mode), _octal(status.mode))
        yield from differs("owner", wanted.uid, status.uid)
        yield from differs("group", wanted.gid, status.gid)
    if wanted.type == "link":
        yield from differs("target", wanted.target, appliance.readlink(wanted.path))
    if wanted.type == "file":
        yield from differs("size", wanted.size, status.size)
        yield from differs("sha256", wanted.sha256, appliance.sha256(wanted.path))


def _octal(mode: int | None) -> str | None:
    return None if mode is None else f"{mode:04o}"
