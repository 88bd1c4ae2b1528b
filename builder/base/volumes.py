"""The two volumes of a published image, read in the appliance."""

from __future__ import annotations

from pathlib import Path

from builder import limits
from builder.base.partitions import HINT, require_layout
from builder.errors import BuildError, DownloadError
from builder.machines.appliance import FILESYSTEMS, VOLUMES, Appliance
from builder.model.progress import Progress
from builder.model.settings import Base


def import_layers(image: Path, base: Base, directory: Path, progress: Progress, where: str) -> tuple[Path, Path]:
    """Write both volumes of a published image as `directory`/boot.tar and root.tar, and return the two paths.

    Raises DownloadError, at `where`, for another layout than the profile's, or volumes that cannot be read.
    """
    require_layout(image, base, where)
    archives = directory / "boot.tar", directory / "root.tar"
    with Appliance(image, progress) as appliance:
        layout = appliance.disk_facts()
        sizes = {"boot": layout.boot_size, "root": layout.root_size}
        for volume, archive in zip(VOLUMES, archives, strict=True):
            progress.step("import", f"read the {volume} volume of {image.name}")
            found, wanted = appliance.filesystem(volume), FILESYSTEMS[volume]
            if found != wanted:
                what = f"a filesystem of type {found}" if found else "no filesystem"
                raise DownloadError(f"the {volume} volume holds {what}, not {wanted}", where=where, hint=HINT)
            try:
                with appliance.mounted(volume):
                    appliance.tar_out("/", archive, limit=limits.TAR_OF_VOLUME * sizes[volume])
            except BuildError as broken:
                raise DownloadError(f"the {volume} volume cannot be read: {broken.message}", where=where) from broken
    return archives
