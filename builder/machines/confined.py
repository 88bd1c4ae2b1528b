"""The rights of a QEMU process: its own user id, no new privileges, no capabilities, few system calls.

Sources: qemu(1), `-sandbox`; setpriv(1); systemd's doc/UIDS-GIDS.md for the range of ids.
"""

from __future__ import annotations

import functools
import os
import pwd
from pathlib import Path

from builder.errors import MissingToolError

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
"""QEMU's own seccomp filter. It denies obsolete system calls, set*id, new programs and changes of priorities."""

_IDS = range(61184, 65520)
"""systemd's range for dynamic users. No file on a disk belongs to them."""

_KVM = Path("/dev/kvm")


def confined(*, kvm: bool = False) -> tuple[str, ...]:
    """The words to put before QEMU's command. If we are root, QEMU gets an unused user id; else it keeps the user's.

    `kvm` keeps the group that may use /dev/kvm. The signal at our death is set again, because a change of ids or
    namespaces clears it (PR_SET_PDEATHSIG(2const)).
    Raises MissingToolError when every id of the range is taken.
    """
    words = ("setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--inh-caps=-all")
    if os.geteuid() != 0:
        return (*words, "--bounding-set=-all", "--")
    number = _free_id()
    groups = (f"--groups={_KVM.stat().st_gid}",) if kvm else ("--clear-groups",)
    return (*words, f"--reuid={number}", f"--regid={number}", *groups, "--")


@functools.cache
def _free_id() -> int:
    """An id without an account. The search starts at this process's number, so that two builds rarely share an id."""
    begin = os.getpid() % len(_IDS)
    candidates: list[int] = [*_IDS[begin:], *_IDS[:begin]]
    for number in candidates:
        try:
            pwd.getpwuid(number)
        except KeyError:
            return number
    raise MissingToolError(f"every user id from {_IDS.start} to {_IDS.stop - 1} is taken", where="/etc/passwd")
