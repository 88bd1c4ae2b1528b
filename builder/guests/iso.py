"""What of an Alpine ISO starts its live system: kernel and initramfs, which QEMU loads itself (layout: aports,
scripts/mkimg.base.sh).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError
from builder.run import run

_HEADER = 0x202, b"HdrS"  # of a bzImage (Linux, Documentation/arch/x86/boot.rst)
_XLOADFLAGS, _XLF_KERNEL_64 = 0x236, 1


@dataclass(frozen=True, slots=True)
class LiveSystem:
    kernel: Path
    initramfs: Path


def extract(iso: Path, flavor: str, work: Path, where: str) -> LiveSystem:
    """Write kernel and initramfs of that flavor into `work`.

    Raises BuildError, at `where`: no ISO of Alpine's layout, or not for x86_64.
    """
    found = LiveSystem(work / "vmlinuz", work / "initramfs")
    names = {f"/boot/vmlinuz-{flavor}": found.kernel, f"/boot/initramfs-{flavor}": found.initramfs}
    words = [str(word) for name, target in names.items() for word in ("-extract", name, target)]
    told = run(["xorriso", "-osirrox", "on", "-indev", iso, *words], check=False)
    missing = [name for name, target in names.items() if not target.is_file()]
    if missing:
        said = [line for line in told.stderr.decode(errors="replace").splitlines() if "FAILURE" in line]
        reason = f": {said[0]}" if said else ""
        raise BuildError(f"is no Alpine ISO with the kernel {flavor}: no {missing[0]}{reason}", where=where)
    _require_x86_64(found.kernel, where)
    for target in names.values():
        target.chmod(0o644)
    return found


def _require_x86_64(kernel: Path, where: str) -> None:
    with kernel.open("rb") as file:
        head = file.read(0x240)
    offset, magic = _HEADER
    is_x86 = head[offset : offset + len(magic)] == magic
    if not is_x86 or not head[_XLOADFLAGS] & _XLF_KERNEL_64:
        raise BuildError(
            "is the ISO of another architecture: its kernel is none for x86_64",
            where=where,
            hint="the guest is an x86_64 machine; pin the ISO of that name",
        )
