"""Let the kernel hand foreign programs to qemu-user (binfmt_misc).

The rule is the one that the qemu-user package ships for systemd-binfmt. Its flag F has the kernel open the interpreter
at registration, so that it is found from inside any chroot. `python -m builder.bake.binfmt ARCHITECTURE` registers it.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from builder.errors import MissingToolError
from builder.host.run import run

TOOLS = ("mount", "unshare")

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_RULES = Path("/usr/lib/binfmt.d")
_DEBIAN_NAMES = {"aarch64": "arm64", "x86_64": "amd64"}
_PER_NAMESPACE = (6, 7)  # Linux 6.7: a user namespace that mounts binfmt_misc has rules of its own
_QEMU_NAMES = {debian: qemu for qemu, debian in _DEBIAN_NAMES.items()}


def host_architecture() -> str:
    """Debian's name of the machine that we run on."""
    return _DEBIAN_NAMES.get(platform.machine(), platform.machine())


def rule(architecture: str) -> Path:
    return _RULES / f"qemu-{_QEMU_NAMES[architecture]}.conf"


def enable_for_machine(architecture: str) -> None:
    """As root, on a kernel whose rules are the whole machine's: no user namespace can add one, so it is done before."""
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if os.geteuid() == 0 and release < _PER_NAMESPACE and architecture != host_architecture():
        run(
            ["unshare", "--mount", sys.executable, "-m", __name__, architecture],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
        )


def enable(architecture: str) -> None:
    """Make programs of `architecture` run: in this sandbox only, if it has a user namespace and the kernel is 6.7 or
    later, else on this machine, as systemd-binfmt does at boot.

    Raises MissingToolError when qemu-user is not installed.
    """
    if architecture == host_architecture():
        return
    if not (_BINFMT / "status").exists():
        mounted = run(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT], check=False)
        if mounted.returncode != 0:
            return  # an older kernel in a user namespace: the rules of the machine are in force here
    if (_BINFMT / f"qemu-{_QEMU_NAMES[architecture]}").exists():
        return
    if not rule(architecture).exists():
        raise MissingToolError(
            f"qemu-user is not installed, so {architecture} packages cannot be configured here",
            hint="apt install qemu-user-static (Debian 12) or qemu-user-binfmt (Debian 13)",
        )
    (_BINFMT / "register").write_bytes(rule(architecture).read_bytes().strip())


if __name__ == "__main__":
    enable(sys.argv[1])
