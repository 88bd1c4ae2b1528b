"""What the Raspberry Pi's firmware would load: kernel, initrd and command line, from the image's own FAT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.disk import fat
from builder.model.manifest import DiskFacts

_SECTIONS = ("all", "pi4")
"""Filters of config.txt that hold for a Pi 4 (documentation/asciidoc/computers/config_txt/conditional.adoc)."""


@dataclass(frozen=True, slots=True)
class BootFiles:
    kernel: Path
    initrd: Path | None
    cmdline: str


def chosen(config: str) -> tuple[str, str | None]:
    """Names of kernel and initrd by config.txt: the last word counts, kernel8.img is a 64-bit Pi 4's default."""
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
    """Copy kernel and initrd to `directory`. Raises BuildError when the FAT has not what its config.txt names."""

    def copy(name: str) -> Path:
        copied = directory / name
        copied.write_bytes(fat.read_file(image, layout.boot_start, name))
        return copied

    config, cmdline = (
        fat.read_file(image, layout.boot_start, name).decode(errors="replace") for name in ("config.txt", "cmdline.txt")
    )
    kernel, initrd = chosen(config)
    return BootFiles(copy(kernel), copy(initrd) if initrd else None, cmdline.strip())
