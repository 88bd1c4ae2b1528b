"""The files that the Raspberry Pi's firmware would load from an image's FAT: kernel, initrd and command line.

An image may come from a stranger. A name in its config.txt is looked up on its own FAT, and never becomes a host path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import BuildError
from builder.fs import fat
from builder.host import files
from builder.model.manifest import DiskFacts

_SECTIONS = ("all", "pi4")
"""Filters of config.txt that match a Pi 4 (raspberrypi/documentation, config_txt/conditional.adoc)."""

_PART = r"(?![-.])[A-Za-z0-9._+~@%#=, -]{1,255}(?<![. ])"
_FAT_PATH = re.compile(rf"/?{_PART}(?:/{_PART})*")
"""Names that mtools takes as they are: no drive letter, wildcard, `..`, backslash or control character (mtools(1))."""

_WORDS = re.compile(r"[^\x00-\x1f\x7f]*")

KERNEL, INITRD = "kernel", "initrd"


@dataclass(frozen=True, slots=True)
class BootFiles:
    kernel: Path
    initrd: Path | None
    cmdline: str


def chosen(config: str) -> tuple[str, str | None]:
    """Names of the kernel and the initrd (None: no initrd) in the text of config.txt. The last setting counts. The
    default kernel of a 64-bit Pi 4 is kernel8.img."""
    kernel, initrd, automatic, holds = "kernel8.img", None, False, True
    for line in map(str.strip, config.splitlines()):
        if line.startswith("["):
            holds = line.strip("[]") in _SECTIONS
        elif holds and line.startswith("kernel="):
            kernel = line.removeprefix("kernel=")
        elif holds and line.startswith("initramfs "):
            initrd = line.split()[1]
        elif holds and line.startswith("auto_initramfs="):
            automatic = line.endswith("=1")
    if initrd is None and automatic:
        initrd = kernel.replace("kernel", "initramfs").removesuffix(".img")
    return kernel, initrd


def boot_files(image: Path, layout: DiskFacts, directory: Path) -> BootFiles:
    """Copy the image's kernel and initrd to `directory`, as `kernel` and `initrd` with mode 0444.

    Raises BuildError for a name that is no path on a FAT, a file that is missing or too large, and a command line that
    is not one line of text.
    """

    def read(name: str, limit: int) -> bytes:
        return fat.read_file(image, layout.boot_start, name, limit)

    def copied(name: str, local: str, limit: int) -> Path:
        if not _FAT_PATH.fullmatch(name):
            raise BuildError(
                f"config.txt names {name!r} as {local}, which is no path on its FAT",
                where=str(image),
                hint="the image is damaged or hostile: do not use it",
            )
        path = files.write_new(directory, local, read(name, limit))
        path.chmod(0o444)  # QEMU runs under another id, and the umask may be 077
        return path

    config = read("config.txt", limits.BOOT_TEXT).decode(errors="replace")
    words = read("cmdline.txt", limits.BOOT_TEXT).decode(errors="replace").strip()
    if len(words) > limits.KERNEL_WORDS or not _WORDS.fullmatch(words):
        raise BuildError(
            f"cmdline.txt is not one line of text with at most {limits.KERNEL_WORDS} characters",
            where=str(image),
            hint="a kernel takes no other: mend cmdline.txt, or do not use the image",
        )
    kernel, initrd = chosen(config)
    return BootFiles(
        copied(kernel, KERNEL, limits.KERNEL), copied(initrd, INITRD, limits.INITRD) if initrd else None, words
    )
