"""Make the kernel run foreign programs by qemu-user (binfmt_misc).

The rule comes from the package qemu-user, which ships it for systemd-binfmt. With its flag F the kernel opens the
interpreter at registration, so that the rule works in any chroot. `python -m builder.bake.binfmt ARCHITECTURE`
registers the rule.
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
_PER_NAMESPACE = (6, 7)  # since Linux 6.7 a user namespace that mounts binfmt_misc has its own rules
_QEMU_NAMES = {debian: qemu for qemu, debian in _DEBIAN_NAMES.items()}


def host_architecture() -> str:
    """Debian's name for the build host's architecture."""
    return _DEBIAN_NAMES.get(platform.machine(), platform.machine())


def rule(architecture: str) -> Path:
    return _RULES / f"qemu-{_QEMU_NAMES[architecture]}.conf"


def enable_for_machine(architecture: str) -> None:
    """Register the rule for the whole machine, if we are root and the kernel is older than 6.7: a user namespace cannot
    add a rule there."""
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if os.geteuid() == 0 and release < _PER_NAMESPACE and architecture != host_architecture():
        run(
            ["unshare", "--mount", sys.executable, "-m", __name__, architecture],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
        )


def enable(architecture: str) -> None:
    """Make programs of `architecture` run. In a user namespace on Linux 6.7 or later this affects only the sandbox;
    else it affects the whole machine, as systemd-binfmt does at boot.

    Raises MissingToolError when qemu-user is not installed.
    """
    if architecture == host_architecture():
        return
    if not (_BINFMT / "status").exists():
        mounted = run(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT], check=False)
        if mounted.returncode != 0:
            return  # an older kernel in a user namespace: the machine's rules apply here
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
