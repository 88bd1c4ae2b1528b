"""`boot IMAGE`: the image's serial console on this terminal."""

from __future__ import annotations

import os
import sys
import tempfile
import termios
from pathlib import Path

from builder.boot.expected import expected_of
from builder.boot.firmware import boot_files
from builder.boot.machine import Wiring, scratch_disk
from builder.errors import BuildError
from builder.model.manifest import Manifest
from builder.run import kill, start


def console(image: Path, manifest: Manifest) -> None:
    """Boot a scratch copy with the terminal as its serial line, until it powers off or Ctrl-A X ends it.

    Nothing is kept. Raises BuildError when QEMU fails.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal) if os.isatty(terminal) else None
    with tempfile.TemporaryDirectory(prefix="pimu-boot-", dir=image.resolve().parent) as scratch:
        wiring = Wiring(boot_files(image, manifest.layout, Path(scratch)), address=expected_of(manifest).address)
        disk = scratch_disk(image, Path(scratch, "ssd.qcow2"))
        process = start(wiring.argv(disk, "mon:stdio"), stdin=0, stdout=1, stderr=2)
        try:
            status = process.wait()
        finally:
            kill(process)
            if before is not None:  # a killed QEMU leaves the terminal raw
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    if status != 0:
        raise BuildError(f"QEMU ended with status {status}")
