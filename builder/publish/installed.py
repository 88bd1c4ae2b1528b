"""The packages of an image and of its guest's disk: read from the databases of their package managers, without running
anything of theirs, and without a mount."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.bake.private_keys import require_no_keys_in_guest
from builder.errors import BuildError
from builder.fs import ext4, mbr
from builder.fs.qcow2 import read_qcow2
from builder.fs.volumes import Ext4
from builder.model.manifest import FileState, Manifest
from builder.publish.packages import Installed, Kind, System, guest_disk, system_of

_DATABASES: dict[str, Kind] = {
    "/var/lib/dpkg/status": "deb",
    "/lib/apk/db/installed": "apk",
    "/usr/lib/apk/db/installed": "apk",  # apk-tools 3
}
_OS_RELEASE = ("/usr/lib/os-release", "/etc/os-release")  # the latter is a link where there is the former


def read_installed(image: Path, manifest: Manifest, folder: Path, guests: MutableMapping[str, System]) -> Installed:
    """`folder` gets temporary files: as much as the guest's disk holds, twice. `guests` are those that have been read
    already, by the sha256 of their disk, and this one is added: a role's images have one guest.

    Raises BuildError; ConfigurationError when the guest's disk holds a private key: it must not be published.
    """
    start, disk = manifest.layout.root_start, guest_disk(manifest)
    with TemporaryDirectory(dir=folder, prefix=".pimu-") as name:
        work = Path(name)
        pi = _system([(image, start)], str(image), work)
        if disk is not None and disk.sha256 is not None and disk.sha256 not in guests:
            guests[disk.sha256] = _guest(image, manifest, disk, work)
    guest = guests[disk.sha256] if disk is not None and disk.sha256 is not None else None
    return Installed(ext4.made_at(image, start), pi, guest)


def _guest(image: Path, manifest: Manifest, disk: FileState, work: Path) -> System:
    """Also raises ConfigurationError when a private key is in it."""
    qcow2, raw, where = work / "guest.qcow2", work / "guest.raw", f"{image}: {disk.path}"
    ext4.dump_files(image, manifest.layout.root_start, {disk.path.strip("/"): qcow2})
    size = manifest.plan["guest"]["disk"]
    read_qcow2(qcow2, raw, most=size, largest=size, where=where)
    qcow2.unlink()
    try:
        starts = [partition.start for partition in mbr.read(raw)]
    except BuildError:  # a filesystem without partitions
        starts = [0]
    volumes = [(raw, start) for start in starts if ext4.is_clean(raw, start)]
    system = _system(volumes, where, work)
    searched = work / "searched"
    searched.mkdir()
    require_no_keys_in_guest(volumes, where, searched)
    return system


def _system(volumes: Sequence[tuple[Path, int]], where: str, work: Path) -> System:
    """The system in the first of these volumes (disk and offset in bytes) that has a database of packages."""
    for number, (disk, start) in enumerate(volumes):
        folder = work / f"{disk.name}-{number}"
        folder.mkdir()
        there = Ext4(disk, start, folder).look([*_DATABASES, *_OS_RELEASE])
        texts = {path: entry.read().decode(errors="replace") for path, entry in there.items() if entry.kind == "file"}
        for path, kind in _DATABASES.items():
            if path in texts:
                about = next((texts[name] for name in _OS_RELEASE if name in texts), "")
                return system_of(kind, texts[path], about, f"{where}: {path}")
    raise BuildError("has no database of installed packages", where=where, hint="build the image again")
