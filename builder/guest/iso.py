"""Kernel and initramfs of an Alpine ISO's live system, which QEMU loads itself (layout: aports, scripts/mkimg.base.sh).

Nothing is extracted: an ISO may hold symlinks and devices in their place. xorriso says where a regular file's bytes
are, and those are read from the ISO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import BuildError
from builder.host import files
from builder.host.run import output

TOOLS = ("prlimit", "xorriso")

_HEADER = 0x202, b"HdrS"  # of a bzImage (Linux, Documentation/arch/x86/boot.rst)
_XLOADFLAGS, _XLF_KERNEL_64 = 0x236, 1
_BLOCK = 2048  # bytes (ECMA-119, 6.1.2)
_REPORT = re.compile(r"^File data lba: +(\d+) , +(\d+) , +(\d+) , +(\d+) , '(.*)'$", re.MULTILINE)
"""Extent, first block, blocks, bytes of the whole file, path (xorriso(1), `report_lba`)."""
_HINT = "it is not what the guest's profile says: pin another ISO there"


@dataclass(frozen=True, slots=True)
class LiveSystem:
    kernel: Path
    initramfs: Path


def extract(iso: Path, flavor: str, work: Path, where: str) -> LiveSystem:
    """Write kernel and initramfs of that flavor into `work`, as `vmlinuz` and `initramfs`.

    Raises BuildError, at `where`: no ISO of Alpine's layout, not for x86_64, or one with something else than regular
    files of a sensible size in these places.
    """
    kernel = _content(iso, f"/boot/vmlinuz-{flavor}", limits.KERNEL, flavor, where)
    initramfs = _content(iso, f"/boot/initramfs-{flavor}", limits.INITRD, flavor, where)
    _require_x86_64(kernel, where)
    found = LiveSystem(files.write_new(work, "vmlinuz", kernel), files.write_new(work, "initramfs", initramfs))
    for path in (found.kernel, found.initramfs):
        path.chmod(0o644)  # QEMU reads them as somebody else
    return found


def _content(iso: Path, name: str, limit: int, flavor: str, where: str) -> bytes:
    start, size = _extent(iso, name, flavor, where)
    if size > limit:
        raise BuildError(f"its {name} has {size} bytes, and {limit} are the most", where=where, hint=_HINT)
    with iso.open("rb") as file:
        file.seek(start)
        content = file.read(size)
    if len(content) < size:
        raise BuildError(f"ends before the end of its {name}", where=where, hint=_HINT)
    return content


def _extent(iso: Path, name: str, flavor: str, where: str) -> tuple[int, int]:
    """First byte and size of a regular file, which must lie in one piece."""
    words = ["-find", name, "-maxdepth", "0", "-type", "f", "-exec", "report_lba", "--"]
    argv = ["prlimit", f"--as={limits.ISO_MEMORY}", "--", "xorriso", "-no_rc", "-indev", f"stdio:{iso}", *words]
    try:
        said = output(argv, limit=limits.ISO_REPORT, timeout=limits.ISO_SECONDS).decode(errors="replace")
    except BuildError as error:
        raise BuildError(
            f"is no Alpine ISO with the kernel {flavor}: no {name}: {error.message}", where=where, hint=_HINT
        ) from error
    match _REPORT.findall(said):
        case [("0", block, _, size, path)] if path == name:
            return int(block) * _BLOCK, int(size)
        case []:
            what = f"no {name} that is a regular file"
        case _:
            what = f"its {name} is not in one piece"
    raise BuildError(f"is no Alpine ISO with the kernel {flavor}: {what}", where=where, hint=_HINT)


def _require_x86_64(kernel: bytes, where: str) -> None:
    offset, magic = _HEADER
    is_x86 = kernel[offset : offset + len(magic)] == magic
    if not is_x86 or len(kernel) <= _XLOADFLAGS or not kernel[_XLOADFLAGS] & _XLF_KERNEL_64:
        raise BuildError(
            "is the ISO of another architecture: its kernel is none for x86_64",
            where=where,
            hint="the guest is an x86_64 machine; pin the ISO of that name",
        )
