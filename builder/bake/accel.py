"""The tree of host programs on top of a foreign system while its packages are configured. They save emulation.

A program belongs here if its result does not depend on the machine, and if nothing copies it into the system. So
ldconfig is left out, dpkg and dpkg-query only answer the questions of stage/foreign, and programs that initramfs hooks
copy (kmod, udevadm, busybox, blkid) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from builder.fetch import Cache
from builder.host import sandbox
from builder.model.lock import Resolution
from builder.model.progress import Progress
from builder.store.products import Product, Store
from builder.store.step import register

PROGRAMS, LIBRARIES, TAR = "programs", "libraries", "accel.tar"

WHOLE = (
    *("bash", "coreutils", "cpio", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip", "mawk"),
    *("perl-base", "python3", "sed", "tar", "xz-utils", "zstd"),
)
SOME = {
    "bsdutils": ("usr/bin/logger",),
    "dpkg": ("usr/bin/dpkg-divert", "usr/bin/dpkg-statoverride", "usr/bin/dpkg-trigger", "usr/bin/update-alternatives"),
    "dracut-install": ("usr/lib/dracut/dracut-install",),  # collects the initrd's kernel modules
    "kmod": ("usr/sbin/depmod",),
    "libc-bin": ("usr/bin/getent",),
    "openssh-client": ("usr/bin/ssh-keygen",),
    "passwd": ("usr/sbin/groupadd", "usr/sbin/useradd", "usr/sbin/usermod"),
    "systemd": ("usr/bin/journalctl", "usr/bin/systemctl", "usr/bin/systemd-sysusers", "usr/bin/systemd-tmpfiles"),
    "udev": ("usr/bin/systemd-hwdb",),  # takes half a minute of emulation
}
ACCEL_PACKAGES = tuple(f"?exact-name({name})" for name in sorted((*WHOLE, *SOME)))
"""Patterns of apt: a package that a suite lacks (dracut-install before Debian 13) is then no error."""


def make_accel(
    resolution: Resolution,
    cache: Cache,
    store: Store,
    progress: Progress,
    *,
    name: str = "host programs",
    trusted: bool = False,
) -> Product:
    """The product with TAR (see builder/bake/accel_tree.py). Raises the errors of `sandbox.run_inside`."""

    def fill(fresh: Path) -> None:
        cache.require_whole(*(deb.sha256 for deb in resolution.debs))
        with store.workspace() as work:
            _take_out([(deb.name, cache.path(deb.sha256)) for deb in resolution.debs], fresh, work, progress, trusted)

    step = store.step(_MAKER, name, {"debs": [deb.sha256 for deb in resolution.debs]})
    return store.make(step, fill)


def _take_out(debs: Sequence[tuple[str, Path]], fresh: Path, work: Path, progress: Progress, trusted: bool) -> None:
    """Write TAR into `fresh`. `debs` are names and files of packages. `work` is an empty folder."""
    listed, made = work / "debs.json", work / TAR
    listed.write_text(json.dumps([(name, str(path)) for name, path in debs]))
    sandbox.run_inside(
        "builder.bake.accel_tree",
        *(listed, made, work / sandbox.ROOM),
        work=work,
        reads=[listed, *(path for _, path in debs)],
        writes=[made],
        trusted=trusted,
        on_line=lambda line: progress.step("bake", f"host programs: {line}"),
    )
    sandbox.keep(made, fresh)


_MAKER = register("accel", _take_out)
