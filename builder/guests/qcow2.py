"""Disks as QEMU keeps them (qemu-img(1))."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.run import run

DISK = "disk.qcow2"


def write_qcow2(raw: Path, folder: Path) -> None:
    """The raw disk as `folder`/disk.qcow2; the raw one is removed. What it has not written takes no room."""
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / DISK])
    raw.unlink()


def read_qcow2(file: Path, raw: Path, *, most: int, where: str) -> None:
    """A published qcow2 as a raw disk of `most` bytes, which is the size that it may have at most.

    Raises BuildError, at `where`: no qcow2, larger, or one that names other files, which would be the build host's.
    """
    told = run(["qemu-img", "info", "--output=json", "-f", "qcow2", file], check=False)
    if told.returncode != 0:
        said = told.stderr.decode(errors="replace").strip()
        raise BuildError(f"is no qcow2: {said}", where=where)
    facts: dict[str, Any] = json.loads(told.text)
    data_file = facts.get("format-specific", {}).get("data", {}).get("data-file")
    other = facts.get("full-backing-filename") or facts.get("backing-filename") or data_file
    if other is not None:
        raise BuildError(f"is no disk by itself: it names {other}", where=where, hint="do not use it")
    if facts["virtual-size"] > most:
        raise BuildError(f"is a disk of {facts['virtual-size']} bytes, larger than the profile's {most}", where=where)
    run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, raw])
    with raw.open("r+b") as disk:
        disk.truncate(most)
