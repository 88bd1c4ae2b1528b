"""The checks of the booted node's guest: its QEMU, its system, and its disk across a boot without the guest."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, equal, number
from builder.text import tail

MOST_RESTARTS = 3
"""Restarts of the guest's QEMU, ten seconds apart. After so many, waiting longer does not help."""
UNPRIVILEGED = "CapInh 0, CapPrm 0, CapEff 0, CapBnd 0, CapAmb 0, NoNewPrivs 1, Seccomp 2"
"""Lines of QEMU's /proc/PID/status (proc(5)): it has no capability, can get none, and its system calls are filtered."""


def guest_checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """Results from the facts of guest.sh: the service runs QEMU as its own user, br0 hears the guest, and the x86
    system is up."""
    yield equal("pimu-guest", facts["unit"], "active")
    yield equal("guest process", facts["process"], "/usr/bin/qemu-system-x86_64 pimu-guest")
    port = facts["heard-on"]
    heard = f"{want.identity.guest_mac} heard on {port or 'no port'}"
    yield CheckResult("guest on br0", port == "tap-guest", heard, "tap-guest")
    yield equal("guest's privileges", facts["privileges"], UNPRIVILEGED)
    kernel = re.search(r"Linux version \S+", facts["log"])
    yield CheckResult("guest kernel", kernel is not None, kernel[0] if kernel else _end(facts), "its first line")
    blamed = re.search(r"tsc: Marking TSC unstable.*", facts["log"])
    yield CheckResult("guest clock", blamed is None, blamed[0] if blamed else "TSC", "TSC, for the HPET is slow")
    login = f"{want.settings.guest_hostname} login:"
    yield CheckResult("guest login", login in facts["log"], login if login in facts["log"] else _end(facts), login)
    yield CheckResult("guest ssh", facts["ssh"].startswith("SSH-2.0-"), facts["ssh"] or "no answer", "SSH-2.0-...")


def guest_is_settled(facts: Facts) -> bool:
    """Whether waiting is over: the guest is up, or its service has failed."""
    hopeless = facts["unit"] == "failed" or number(facts["restarts"]) >= MOST_RESTARTS
    return hopeless or (bool(facts["heard-on"]) and bool(facts["ssh"]))


def guest_went_down(facts: Facts) -> CheckResult:
    """The guest's kernel printed its last line. The next boot asks for it."""
    clean = "reboot: Power down" in facts["guest-log"]
    return CheckResult("guest powered down cleanly", clean, tail(facts["guest-log"], 3), "its kernel's last line")


def guest_disk_untouched(facts: Facts) -> CheckResult:
    before = number(facts["booted"]) - number(facts["guest-disk-written"])
    untouched = before >= 0 and facts["guest-disk-written"].isdecimal()
    return CheckResult("guest's disk untouched", untouched, f"written {before} s before this boot", "before this boot")


def _end(facts: Facts) -> str:
    return f"the guest's serial log ends in{tail(facts['log'], 5)}"
