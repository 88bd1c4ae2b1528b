"""Find programs of the wrong architecture. A single x86-64 blkid in the initrd keeps a Pi from booting."""

from __future__ import annotations

import struct
from pathlib import Path

# elf(5), e_machine.
MACHINES = {"amd64": 62, "arm64": 183}

# Code for other processors that belongs there: files for emulators and boot loaders, and the VideoCore's start4.elf.
_FIRMWARE = (
    *("usr/share/qemu/", "usr/share/seabios/", "usr/lib/ipxe/", "usr/lib/grub/", "boot/grub/"),
    *("usr/lib/raspi-firmware/", "usr/lib/firmware/", "start"),
)


def machine_of(head: bytes) -> int | None:
    """e_machine in the first 20 bytes of a file, or None when it is not ELF."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    order = "<" if head[5] == 1 else ">"
    (machine,) = struct.unpack_from(order + "H", head, 18)
    return int(machine)


def is_foreign(path: str, head: bytes, architecture: str) -> bool:
    """Whether a file at `path` (relative to the root) is a program that the target cannot run."""
    machine = machine_of(head)
    return machine not in (None, MACHINES[architecture]) and not path.startswith(_FIRMWARE)


def foreign_files(root: Path, architecture: str) -> list[str]:
    """The foreign programs below `root`, as sorted paths relative to it."""
    found = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                head = file.read(20)
            name = str(path.relative_to(root))
            if is_foreign(name, head, architecture):
                found.append(name)
    return sorted(found)
