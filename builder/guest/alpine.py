"""A guest's disk of Alpine Linux: installed by its own installer in a virtual machine, or taken as it is published."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from builder.errors import DownloadError
from builder.fs import ext4, mbr
from builder.fs.qcow2 import DISK, read_qcow2, write_qcow2
from builder.fs.volumes import Ext4, System
from builder.guest import apkovl, checks, iso
from builder.guest.machine import PATIENCE, Machine, Patience, run_installer
from builder.guest.mirror import Mirror
from builder.model.plan import GuestDisk
from builder.model.progress import Progress
from builder.model.settings import Guest
from builder.model.sources import CloudImageSource, InstallerSource
from builder.store.products import Blobs, LockEntries, Store
from builder.store.step import register

_EPOCH = 946684800  # seconds, 2000-01-01: the time of files that come neither with a package nor with an image
_WORDS = f"modules=loop,squashfs,sd-mod,usb-storage apkovl=/{apkovl.NAME} console=ttyS0,115200 panic=-1"
"""The ISO's own words, where our files are, the serial console that its boot loader leaves out, and no shell to wait
in."""
_RAW, _WORK = "disk.raw", "work"


@dataclass(frozen=True, slots=True)
class AlpineDisks:
    """`offline`: what is to be installed needs a mirror, and so cannot be."""

    store: Store
    progress: Progress
    offline: bool = False
    patience: Patience = PATIENCE

    def make_disk(
        self,
        disk: GuestDisk,
        guest: Guest,
        file: Path,
        *,
        locked: LockEntries | None = None,
        require_whole: Callable[[], None] = lambda: None,
    ) -> Blobs:
        """The blobs of a guest whose ISO or cloud image is `file`, in the cache: made once for that file, its answers
        and its overlays. What is installed are the packages that the mirror has on the day. `require_whole` is asked
        before the file is read. `locked` is the entry of pimu.lock that the file has.

        Raises BuildError: not the file that it should be, an installer that hangs or fails, a disk that is not ready;
        DownloadError: offline.
        """
        inputs = {
            "file": file.name,
            "guest": guest.model_dump(mode="json", exclude={"summary": True, "source": {"signer"}}),
            "edits": [repr(replace(edit, feature="", origin="")) for edit in disk.edits],
            "installer": [repr(replace(edit, feature="", origin="")) for edit in disk.installer],
            "disk": [disk.name, disk.size, list(disk.root_keys)],
        }

        source = guest.source
        assert isinstance(source, InstallerSource | CloudImageSource)

        def fill(fresh: Path) -> None:
            require_whole()
            (fresh / _WORK).mkdir()
            system = (self._installed if disk.installer else self._published)(disk, guest, file, fresh)
            system.root.apply(disk.edits, _EPOCH)
            checks.require_ready(system, disk, source.flavor)
            write_qcow2(fresh / _RAW, fresh)
            shutil.rmtree(fresh / _WORK)

        made = self.store.make(self.store.step(_MAKER, disk.name, inputs), fill, locked=locked)
        return Blobs(made, {"guest-disk": made.folder / DISK})

    def _installed(self, disk: GuestDisk, guest: Guest, file: Path, fresh: Path) -> System:
        source, work, raw = guest.source, fresh / _WORK, fresh / _RAW
        assert isinstance(source, InstallerSource)
        if self.offline:
            raise DownloadError(
                "has not been installed here yet, and its packages come from a mirror",
                where=f"guest {disk.name}",
                hint="run once without --offline",
            )
        where = source.urls[0]
        system = iso.extract(file, source.flavor, work, where)
        apkovl.append(system.initramfs, disk.installer, work, _EPOCH)
        mbr.sparse(raw, disk.size)
        self.progress.step("guest", f"{disk.name}: install Alpine {guest.release} in a virtual machine")
        machine = Machine(guest, system, _WORDS, disk=raw, iso=file, log=work / "serial.log")
        mirror = Mirror(source.mirror, self.progress)
        run_installer(machine, mirror, where=where, patience=self.patience, progress=self.progress)
        boot_start, root_start = checks.require_partitions(raw, disk.name)
        boot, root = _volume(raw, boot_start, work), _volume(raw, root_start, work)
        checks.require_installed(boot, root, disk)
        return System(root, boot, "")

    def _published(self, disk: GuestDisk, guest: Guest, file: Path, fresh: Path) -> System:
        source, raw = guest.source, fresh / _RAW
        assert isinstance(source, CloudImageSource)
        self.progress.step("guest", f"{disk.name}: take the cloud image of Alpine {guest.release}")
        read_qcow2(file, raw, most=disk.size, where=source.urls[0])
        root = _volume(raw, 0, fresh / _WORK)
        checks.require_ext4({"only": root}, disk.name)
        ext4.grow(raw, _EPOCH)  # here, so that no emulated processor has to
        return System(root, root, "/boot")


def _volume(raw: Path, start: int, work: Path) -> Ext4:
    folder = work / f"volume-{start}"
    folder.mkdir()
    return Ext4(raw, start, folder)


_MAKER = register("alpine", AlpineDisks)
