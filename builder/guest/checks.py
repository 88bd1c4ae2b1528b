"""Is this disk what its installer should have left, or its publisher? Nothing is believed that can be looked at.

setup-alpine ends well when it has installed nothing, and ignores the failures of most of its helpers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from builder.errors import BuildError
from builder.fs import ext4, mbr
from builder.fs.tree import Entry
from builder.fs.volumes import Ext4, System
from builder.model.edits import Remove, Symlink, WriteFile
from builder.model.plan import GuestDisk

INSTALLED = "/etc/pimu-installed"
_KEYS = "/root/.ssh/authorized_keys"
_RUNLEVELS = "/etc/runlevels/"
_CONSOLE = "console=ttyS0"
_LINUX = 0x83
_INITTAB, _GETTY = "/etc/inittab", "ttyS0::respawn:"


def require_partitions(image: Path, where: str) -> tuple[int, int]:
    """The offsets of boot and root, in bytes. Raises BuildError, at `where`, when the disk has not these two
    partitions."""
    try:
        found = mbr.read(image)
    except BuildError:
        found = ()
    if [(partition.kind, partition.bootable) for partition in found] != [(_LINUX, True), (_LINUX, False)]:
        raise _refusal(["it has not two partitions, the first to boot from, in a dos table"], where)
    boot, root = found
    return boot.start, root.start


def require_ext4(volumes: Mapping[str, Ext4], where: str) -> None:
    """Raises BuildError for what is no such filesystem, or was not unmounted."""
    unclean = [name for name, volume in volumes.items() if not ext4.is_clean(volume.image, volume.start)]
    if unclean:
        raise _refusal([f"its {name} volume is no ext4 that was unmounted" for name in unclean], where)


def require_installed(boot: Ext4, root: Ext4, disk: GuestDisk) -> None:
    """Check the work of the installer. Raises BuildError with everything that it has not done."""
    require_ext4({"boot": boot, "root": root}, disk.name)
    left_behind = [edit.path for edit in disk.installer]
    there = root.look([INSTALLED, _KEYS, *left_behind])
    problems = [f"{path} was left behind by the installer" for path in left_behind if path in there]
    if INSTALLED not in there:
        problems.append(f"{INSTALLED} is missing: the installer did not come to its end")
    known = there[_KEYS].read().decode(errors="replace").splitlines() if _KEYS in there else []
    problems += [f"{_KEYS} lacks the key {key.rpartition(' ')[2]}" for key in disk.root_keys if key not in known]
    if problems:
        raise _refusal(problems, disk.name)


def require_ready(system: System, disk: GuestDisk, flavor: str) -> None:
    """Check a guest's system after all edits. Raises BuildError with everything that it lacks."""
    edits = disk.edits
    services = {
        edit.path: edit.target for edit in edits if isinstance(edit, Symlink) and edit.path.startswith(_RUNLEVELS)
    }
    written = [edit.path for edit in edits if isinstance(edit, WriteFile)]
    removed = [edit.path for edit in edits if isinstance(edit, Remove)]
    there = system.root.look([*services, *services.values(), *written, *removed, _INITTAB])
    problems = [*_boot_problems(system, flavor), *_problems(there, services)]
    problems += [f"{path} is missing" for path in written if path not in there]
    problems += [f"{path} is still there" for path in removed if path in there]
    if problems:
        raise _refusal(problems, disk.name)


def _problems(there: Mapping[str, Entry], services: Mapping[str, str]) -> Iterator[str]:
    for link, program in services.items():
        if link not in there:
            yield f"{link} is missing"
        if program not in there:
            yield f"there is no service {program.rpartition('/')[2]}, or its package has not been installed"
    inittab = there[_INITTAB].read().decode(errors="replace") if _INITTAB in there else ""
    if not any(line.startswith(_GETTY) for line in inittab.splitlines()):
        yield f"{_INITTAB} has no login on the serial console"


def _boot_problems(system: System, flavor: str) -> Iterator[str]:
    folder = system.boot_folder
    config = f"{folder}/extlinux.conf"
    names = [f"{folder}/vmlinuz-{flavor}", f"{folder}/initramfs-{flavor}", f"{folder}/ldlinux.sys", config]
    there = system.boot.look(names)
    yield from (f"{name} is missing on the volume that it boots from" for name in names if name not in there)
    if config in there and _CONSOLE not in there[config].read().decode(errors="replace"):
        yield f"{config} has no {_CONSOLE}"


def _refusal(problems: Sequence[str], where: str) -> BuildError:
    return BuildError("\n  ".join(["the guest's disk is not what it should be:", *problems]), where=where)
