"""`boot IMAGE`: the image's serial console on this terminal."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import termios
from pathlib import Path

from builder.boot.expected import expected_of
from builder.boot.firmware import boot_files
from builder.boot.machine import Wiring, scratch_disk
from builder.errors import BuildError
from builder.model.manifest import Manifest
from builder.model.progress import Progress
from builder.run import kill, start


def console(image: Path, manifest: Manifest, progress: Progress) -> None:
    """Boot a scratch copy with the terminal as its serial line, until it powers off or Ctrl-A X ends it.

    Nothing is kept. Raises BuildError when QEMU fails.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal) if os.isatty(terminal) else None
    with tempfile.TemporaryDirectory(prefix="pimu-boot-", dir=image.resolve().parent) as scratch:
        port = _free_port()
        want = expected_of(manifest)
        wiring = Wiring(boot_files(image, manifest.layout, Path(scratch)), address=want.address, ssh_port=port)
        progress.step("boot", f"log in from another terminal: ssh -p {port} {want.settings.user.name}@127.0.0.1")
        progress.step("boot", "Ctrl-A X leaves, and nothing is kept")
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


def _free_port() -> int:
    """QEMU would choose one by itself, and tell nobody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
