"""`boot IMAGE`: the image's serial console on this terminal."""

from __future__ import annotations

import os
import shlex
import sys
import termios
from pathlib import Path

from builder.boot.expected import expected_of
from builder.boot.firmware import boot_files
from builder.boot.machine import Wiring, scratch_disk
from builder.boot.reach import Access, network_of
from builder.errors import BuildError
from builder.host.run import kill, start
from builder.host.scratch import BOOT, scratch_folder
from builder.machines.confined import confined
from builder.machines.handed import Handed
from builder.model.manifest import Manifest
from builder.model.progress import Progress


def console(image: Path, manifest: Manifest, identity: Path | None, access: Access, progress: Progress) -> None:
    """Boot a scratch copy with the terminal as its serial line, until it powers off or Ctrl-A X ends it.

    `identity` is the private key for the ssh line that is printed, if it is known. Nothing is kept. Raises BuildError
    when QEMU fails, and the errors of `check`.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal) if os.isatty(terminal) else None
    want = expected_of(manifest)
    with (
        scratch_folder(BOOT, image.resolve().parent) as scratch,
        network_of(access, want.address) as (network, inner, outer),
    ):
        wiring = Wiring(boot_files(image, manifest.layout, scratch), inner, address=want.address)
        disks = scratch_disk(image, scratch / "ssd.qcow2")
        login = ssh_line(want.settings.user.name, outer, identity)
        progress.step("boot", f"log in from another terminal: {login}")
        progress.step("boot", "Ctrl-A X leaves, and nothing is kept")
        with Handed() as handed:
            argv = [*network.enter, *confined(), *wiring.argv(disks, handed), "-serial", "mon:stdio"]
            process = start(argv, stdin=0, stdout=1, stderr=2, pass_fds=handed.numbers)
        try:
            status = process.wait()
        finally:
            kill(process)
            if before is not None:  # a killed QEMU leaves the terminal raw
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    if status != 0:
        raise BuildError(f"QEMU ended with status {status}")


def ssh_line(user: str, port: int, identity: Path | None) -> str:
    """A command to paste. It does not store the host key, because each boot of a scratch copy makes a new one."""
    key = ["-i", str(identity), "-o", "IdentitiesOnly=yes"] if identity else []
    known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    return shlex.join(["ssh", *key, "-p", str(port), *known, f"{user}@127.0.0.1"])
