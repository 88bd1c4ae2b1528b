"""Bake packages into a layer, inside the sandbox: unpack at native speed, configure with host programs on top, make
the initrd, pack. `python -m builder.bake.inside SPEC ROOM`.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from builder.bake import binfmt
from builder.bake.accel import LIBRARIES, PROGRAMS
from builder.bake.accel_tree import extract
from builder.bake.bytecode import unordered_modules
from builder.bake.elf import foreign_files
from builder.bake.identities import settle
from builder.bake.mounts import machine, overlay, workroom
from builder.bake.pack import pack
from builder.bake.spec import BakeSpec
from builder.bake.stand_ins import Twins, make_stand_ins
from builder.bake.target_etc import path_filters, target_etc
from builder.bake.tree_files import write_text
from builder.errors import BuildError, DiskFullError, PimuError
from builder.host.free_space import NO_ROOM
from builder.host.run import PATH, run
from builder.host.sandbox import ERROR_MARK
from builder.model.layer import BOOT_TAR, ROOT_TAR

TOOLS = ("dpkg", "dpkg-deb", "env", "tar")

_HOSTNAME = "localhost"
"""A script may write the host name into a file. This name keeps the build host's own out of the image."""
_INITRAMFS_STUB = "usr/sbin/update-initramfs"
_INITRAMFS_WANTED = "run/initramfs-wanted"
_INITRD = "run/initrd"

# These packages are configured before all others, in this order, as in debootstrap's second stage.
_CORE = (("base-passwd", "base-files"), ("libc6", "perl-base", "mawk", "debconf", "dpkg"))


def main() -> None:
    spec = BakeSpec.load(Path(sys.argv[1]))
    os.umask(0o022)
    try:
        bake(spec, Path(sys.argv[2]))
    except PimuError as error:
        sys.stderr.write(f"{ERROR_MARK}{error}\n")
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        sys.stderr.write(f"{ERROR_MARK}{error.strerror}\n")
        raise SystemExit(DiskFullError.exit_code) from error


def bake(spec: BakeSpec, work: Path) -> None:
    """Make the layer of `spec`, using `work`, an empty directory."""
    binfmt.enable(spec.architecture)
    socket.sethostname(_HOSTNAME)
    work = workroom(work, _needed_bytes(spec))
    lower, boot = _extract_lower(spec, work)
    _unpack(spec, work, lower)
    if spec.accel is not None:
        Twins(work / PROGRAMS, [lower]).put_right(work / "unpacked", programs_only=True)
    layers = [work / "unpacked", lower]
    stand_ins = make_stand_ins(work, layers, foreign=spec.accel is not None)
    twins = Twins(stand_ins, layers)
    above = [stand_ins] if spec.accel is None else [stand_ins, work / LIBRARIES]
    wants_initrd = _configure(spec, work, [*above, *layers], boot)
    twins.put_right(work / "configured")
    if wants_initrd:
        (stand_ins / _INITRAMFS_STUB).unlink()
        _make_initrds(spec, work, [*above, work / "configured", *layers], boot)
        twins.put_right(work / "initrds")
    else:
        (work / "initrds").mkdir()
    layers = [work / "initrds", work / "configured", *layers]
    with overlay(work, layers, work / "finished") as root:
        with machine(root, boot, spec.boot_mount):
            for command in spec.commands:
                chroot(root, command, spec.epoch)
        settle(root, [work / "finished", *layers[:2]], work / "unpacked", spec.identities)
        say("pack")
        base = lower if spec.lower else None
        uppers = [work / "finished", *layers[:-1]]
        pack(root, base, Path(spec.out, ROOT_TAR), architecture=spec.architecture, epoch=spec.epoch, uppers=uppers)
    if spec.boot_mount is not None:
        pack(boot, None, Path(spec.out, BOOT_TAR), architecture=spec.architecture, epoch=spec.epoch)


def say(text: str) -> None:
    """Print a line of progress, with the seconds since this process began."""
    sys.stderr.write(f"{time.monotonic() - _BEGUN:6.1f} s  {text}\n")
    sys.stderr.flush()


_BEGUN = time.monotonic()


def chroot(root: Path, command: Sequence[str], epoch: int) -> None:
    """Run a program of the tree in the tree. Its environment has only the variables of a package's configuration: the
    user's TMPDIR may not exist there, and no script may learn who builds."""
    environment = {
        "PATH": PATH,
        "HOME": "/root",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(epoch),  # useradd writes the day into shadow, py_compile the kind of its cache
        "PYTHONHASHSEED": "0",  # see builder/bake/bytecode.py
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    run(["env", "--ignore-environment", *settings, "chroot", root, *command])


def _needed_bytes(spec: BakeSpec) -> int:
    """A generous estimate of the room for the unpacked base and packages, and for the files on top of them."""
    base = 0 if spec.lower is None else Path(spec.lower, ROOT_TAR).stat().st_size
    return 2 * base + 6 * sum(Path(deb).stat().st_size for deb in spec.debs) + (256 << 20)


def _extract_lower(spec: BakeSpec, work: Path) -> tuple[Path, Path]:
    lower, boot = work / "lower", work / "boot"
    for folder, name in ((lower, ROOT_TAR), (boot, BOOT_TAR)):
        folder.mkdir()
        if spec.lower is not None and (layer := Path(spec.lower, name)).exists():
            run(["tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-f", layer, "-C", folder])
    return lower, boot


def _unpack(spec: BakeSpec, work: Path, lower: Path) -> None:
    say(f"unpack {len(spec.debs)} packages")
    accel = [] if spec.accel is None else extract(Path(spec.accel), work)
    with overlay(work, [*accel, lower], work / "unpacked") as root:
        if spec.lower is None:
            _lay_foundation(root, spec.essential)
        forced = [f"--force-{what}" for what in ("architecture", "depends", "unsafe-io", "confold")]
        filters = path_filters(lower)
        dpkg = ["dpkg", f"--root={root}", *forced, *filters, "--no-triggers"]
        env = {  # HOME: ~/.dpkg.cfg
            "DEBIAN_FRONTEND": "noninteractive",
            "HOME": "/nonexistent",
            "SOURCE_DATE_EPOCH": str(spec.epoch),
        }
        with machine(root, None, None), target_etc(root, work):
            if spec.removed:
                say(f"remove {' '.join(spec.removed)}")
                run([*dpkg, "--remove", *spec.removed], env=env)
            run([*dpkg, "--unpack", *spec.debs], env=env)
        for name, (text, mode) in spec.files.items():
            write_text(root, name, text, mode)


def _lay_foundation(root: Path, essential: Sequence[str]) -> None:
    """Make the minimal system that preinst scripts and dpkg --configure need: the files of the essential packages,
    merged /usr, and an empty dpkg database."""
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    for deb in essential:
        files = run(["dpkg-deb", "--fsys-tarfile", deb]).stdout
        run(["tar", "-x", "-p", "--numeric-owner", "--keep-directory-symlink", "-C", root], input=files)


def _configure(spec: BakeSpec, work: Path, lowers: Sequence[Path], boot: Path) -> bool:
    """Configure the packages. Returns whether a package has asked for an initrd."""
    say("configure")
    with overlay(work, lowers, work / "configured") as root, machine(root, boot, spec.boot_mount):
        if spec.lower is None:
            for packages in _CORE:
                chroot(root, ["dpkg", "--force-depends", "--configure", *packages], spec.epoch)
        chroot(root, ["dpkg", "--force-confold", "--configure", "-a"], spec.epoch)
        for python, modules in unordered_modules(root):
            chroot(root, [python, "-S", "-m", "py_compile", *modules], spec.epoch)
        return (root / _INITRAMFS_WANTED).exists()


def _make_initrds(spec: BakeSpec, work: Path, lowers: Sequence[Path], boot: Path) -> None:
    """Make an initrd for each kernel. Hooks copy programs into it, so each initrd is unpacked again and checked.

    Raises BuildError when it holds a program of another architecture.
    """
    with overlay(work, lowers, work / "initrds") as root, machine(root, boot, spec.boot_mount):
        for modules in sorted((root / "usr/lib/modules").iterdir()):
            say(f"initrd {modules.name}")
            chroot(root, ["update-initramfs", "-c", "-k", modules.name], spec.epoch)
            chroot(root, ["unmkinitramfs", f"/boot/initrd.img-{modules.name}", f"/{_INITRD}"], spec.epoch)
            if foreign := foreign_files(root / _INITRD, spec.architecture):
                raise BuildError(f"holds programs of another machine: {', '.join(foreign)}", where="the initrd")
            shutil.rmtree(root / _INITRD)


if __name__ == "__main__":
    main()
