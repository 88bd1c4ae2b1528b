"""Loop devices of the kernel: block devices that a test may overwrite."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_TRIES = 10  # another process may take the device that was free a moment ago


@contextmanager
def loop_device(file: Path) -> Iterator[Path]:
    """Skips the test where there are none."""
    device = attach(file)
    try:
        yield device
    finally:
        detach(device)


def blank(file: Path, size: int) -> Path:
    """A new file of so many zeros."""
    with file.open("xb") as new:
        new.truncate(size)
    return file


def attach(file: Path) -> Path:
    for _ in range(_TRIES):
        said = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            return Path(said.stdout.strip())
    pytest.skip(f"no loop device to be had: {said.stderr.strip()}")


def detach(device: Path) -> None:
    """A loop device stays read-only for its next user when it was made so."""
    subprocess.run(["blockdev", "--setrw", device], capture_output=True, check=False)
    subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
