"""The tree of host programs that lies over a foreign system while its packages are configured, for speed.

A program is here when its answer does not depend on the machine it runs on, and when nothing copies it into the system:
so no ldconfig, of dpkg and dpkg-query only the questions of stage/foreign, and nothing that initramfs hooks copy (kmod,
udevadm, busybox, blkid).
"""

from __future__ import annotations

import platform
import posixpath
import shutil
from pathlib import Path

from builder import recipe
from builder.model.lock import Deb, Resolution
from builder.run import run
from builder.sources import Cache
from builder.store import Store

PROGRAMS, LIBRARIES = "programs", "libraries"

_WHOLE = (
    *("bash", "coreutils", "cpio", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip", "mawk"),
    *("perl-base", "python3", "sed", "tar", "xz-utils", "zstd"),
)
_SOME = {
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
ACCEL_PACKAGES = tuple(f"?exact-name({name})" for name in sorted((*_WHOLE, *_SOME)))
"""As apt's patterns: one that a suite does not have (dracut-install before Debian 13) is no error."""

_ANSWERS_FOR_ITS_MACHINE = {"arch", "nproc", "uname"}
_LIBRARIES = ("usr/lib/*-linux-gnu", "usr/lib64", "usr/lib/python3.*/lib-dynload")


def make_accel(resolution: Resolution, cache: Cache, store: Store) -> Path:
    """Two trees in a directory: the programs, and the libraries of all the packages that these need."""

    def extract(fresh: Path) -> None:
        cache.require_whole(*(deb.sha256 for deb in resolution.debs))
        programs, libraries, whole = fresh / PROGRAMS, fresh / LIBRARIES, fresh / "whole"
        for deb in resolution.debs:
            run(["dpkg-deb", "-x", cache.path(deb.sha256), whole])
            _merge_usr(whole)
            for pattern in _LIBRARIES:
                for folder in whole.glob(pattern):
                    target = libraries / folder.relative_to(whole)
                    shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
            for library in whole.glob("usr/lib/systemd/libsystemd-shared-*.so"):  # of systemd before Debian 12
                target = libraries / f"usr/lib/{platform.machine()}-linux-gnu"
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(library, target)
            for loader in whole.glob("usr/lib/ld-linux-*"):
                shutil.copy2(loader, libraries / "usr/lib", follow_symlinks=False)
            _copy_programs(deb, whole, programs)
            shutil.rmtree(whole)
        (libraries / "lib64").symlink_to("usr/lib64")
        for folder in (path for path in fresh.rglob("*") if path.is_dir() and not path.is_symlink()):
            folder.chmod(0o755)  # an overlay shows the topmost one's mode, and ours would be this user's umask's

    inputs = {"recipe": recipe.digest("bake"), "debs": [deb.sha256 for deb in resolution.debs]}
    return store.make("accel", inputs, extract)


def _merge_usr(whole: Path) -> None:
    """Packages before Debian 13 have programs and libraries in /bin and /lib."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if (whole / name).is_dir() and not (whole / name).is_symlink():
            shutil.copytree(whole / name, whole / "usr" / name, symlinks=True, dirs_exist_ok=True)


def set_aside(source: Path, tree: Path, whose: str) -> None:
    """Put what `source` has of dpkg and dpkg-query where those of stage/foreign find them."""
    target = tree / "usr/libexec" / f"pimu-{whose}"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("dpkg", "dpkg-query"):
        program = source / "usr/bin" / name
        if program.exists() and not (target / name).exists():
            shutil.copy2(program, target)


def _copy_programs(deb: Deb, whole: Path, tree: Path) -> None:
    """Of a package that is named with some programs only, a link such as depmod's to /bin/kmod becomes a file."""
    if deb.name in _SOME:
        programs = [whole / name for name in _SOME[deb.name]]
    elif deb.name in _WHOLE or deb.name.startswith("python3"):
        programs = [path for folder in ("usr/bin", "usr/sbin") for path in sorted((whole / folder).glob("*"))]
    else:
        return
    for program in programs:
        if program.name not in _ANSWERS_FOR_ITS_MACHINE:
            target = tree / program.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_resolved(program, whole) if deb.name in _SOME else program, target, follow_symlinks=False)
    if deb.name == "dpkg":
        set_aside(whole, tree, "host")


def _resolved(path: Path, whole: Path) -> Path:
    """What a link leads to when `whole` is the root: this machine's /bin/kmod is another one."""
    while path.is_symlink():
        path = whole / posixpath.normpath(path.relative_to(whole).parent / path.readlink()).lstrip("/")
    return path
