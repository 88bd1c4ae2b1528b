"""The small checks: each looks at the facts of a probe and says what it found. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from builder.boot.expected import Expected
from builder.boot.machine import PORT_MAC
from builder.boot.probe import Facts, tail

SECTOR = 512
MIB = 1024**2
TRIM_WITHIN = 120  # seconds
MOST_RESTARTS = 3
"""Of the guest's QEMU, ten seconds apart; one that has ended so often has a reason that time does not mend."""
UNCHANGING = ("table", "host-keys", "machine-id", "swapfile", "guest-disk")
"""Facts that every boot after the first must leave as they are."""

_USR_MERGED = re.compile(r"^/(bin|sbin|lib)/")
_DISCARDS_PAGES = re.compile(r"Dc(FS)?$")
"""How the kernel marks swap that was switched on with discard=pages: D discards, c page by page, and before 6.6
FS for frontswap (mm/swapfile.c, swapon). /proc/swaps and swapon(8) do not tell."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str
    passed: bool
    found: str
    expected: str

    def describe(self) -> str:
        return f"{self.name}: {self.found}" if self.passed else f"{self.name}: {self.found}; expected {self.expected}"


Check = Callable[[Facts, Expected], CheckResult]


def equal(name: str, found: object, expected: object) -> CheckResult:
    return CheckResult(name, found == expected, str(found) or "nothing", str(expected) or "nothing")


def system_checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """What holds after every boot, with or without the guest."""
    yield equal("no failed units", facts["failed"] or facts["system"], "running")
    yield equal("hostname", facts["hostname"], want.settings.hostname)
    yield equal("disk id", _disk_id(facts["table"]), want.disk_id)
    yield root_grown(facts)
    if want.settings.swap is not None:
        yield swap_on(facts)
    yield trim_soon(facts)
    yield from bridge_checks(facts, want)
    yield machine_id_made(facts)
    yield equal("ssh host keys", len(facts["host-keys"].splitlines()), 3)
    yield report_written(facts, want)


def root_grown(facts: Facts) -> CheckResult:
    """Partition to the end of the disk, filesystem to the end of the partition, both to the MiB."""
    disk, start, sectors = (_number(facts[name]) for name in ("disk-sectors", "root-start", "root-sectors"))
    blocks, _, block_size = facts["root-blocks"].partition(" ")
    behind = (disk - start - sectors) * SECTOR
    unused = sectors * SECTOR - _number(blocks) * _number(block_size)
    return CheckResult(
        "root grown",
        0 <= behind < MIB and 0 <= unused < MIB,
        f"{behind} bytes behind the partition and {unused} behind the filesystem unused",
        "less than 1 MiB",
    )


def swap_on(facts: Facts) -> CheckResult:
    said = facts["swap-kernel"].strip()
    on = "/swapfile" in facts["swaps"] and facts["swapfile"].endswith(" 600")
    expected = "/swapfile, mode 600, switched on with discard=pages (flags end in Dc)"
    return CheckResult("swap", on and bool(_DISCARDS_PAGES.search(said)), said or "no swap", expected)


def trim_soon(facts: Facts) -> CheckResult:
    seconds = _number(facts["trim-next"]) - _number(facts["now"])
    # A few seconds ago is good too: it came while the probe asked.
    return CheckResult("fstrim.timer", -5 <= seconds <= TRIM_WITHIN, f"next in {seconds} s", f"within {TRIM_WITHIN} s")


def bridge_checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    port = want.settings.bridge.port
    yield equal("br0 state", facts["bridge-state"], "up")
    yield equal("br0 MAC", facts["bridge-mac"], want.identity.bridge_mac or PORT_MAC)
    yield equal("br0 spanning tree", facts["bridge-stp"], "0")
    address = facts["bridge-address"]
    if want.address is None:
        yield CheckResult("br0 address", bool(address), address or "none", "one by DHCP")
    else:
        yield equal("br0 address", address, want.address.address)
    ports = facts["bridge-ports"].split()
    yield CheckResult("br0 port", port in ports, " ".join(ports) or "none", port)
    others = [name for name in facts["interfaces"].split() if name.startswith("virbr")]
    yield equal("bridges of libvirt", " ".join(others), "")


def machine_id_made(facts: Facts) -> CheckResult:
    found = facts["machine-id"]
    return CheckResult("machine-id", bool(re.fullmatch("[0-9a-f]{32}", found)), found or "empty", "32 hex digits")


def report_written(facts: Facts, want: Expected) -> CheckResult:
    """The report on the boot volume is JSON, of this node, and no step in it failed."""
    try:
        report = json.loads(facts["report"])
        node, steps = report["node"], {name: step["status"] for name, step in report["steps"].items()}
    except (ValueError, KeyError, TypeError):
        return CheckResult("report", False, facts["report"] or "none", "JSON")
    good = node == want.settings.name and steps and "failed" not in steps.values()
    found = ", ".join(f"{name} {status}" for name, status in steps.items())
    return CheckResult("report", bool(good), f"{node}: {found}", f"{want.settings.name}, and nothing failed")


def guest_checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """Of guest.sh's facts: the service is QEMU as its own user, heard on br0, and the x86 system is up."""
    yield equal("pimu-guest", facts["unit"], "active")
    yield equal("guest process", facts["process"], "/usr/bin/qemu-system-x86_64 pimu-guest")
    port = facts["heard-on"]
    heard = f"{want.identity.guest_mac} heard on {port or 'no port'}"
    yield CheckResult("guest on br0", port.startswith("tap"), heard, "a tap")
    kernel = re.search(r"Linux version \S+", facts["log"])
    yield CheckResult("guest kernel", kernel is not None, kernel[0] if kernel else _end(facts), "its first line")
    login = f"{want.settings.guest_hostname} login:"
    yield CheckResult("guest login", login in facts["log"], login if login in facts["log"] else _end(facts), login)
    yield CheckResult("guest ssh", facts["ssh"].startswith("SSH-2.0-"), facts["ssh"] or "no answer", "SSH-2.0-...")


def guest_is_settled(facts: Facts) -> bool:
    """Nothing more to wait for: it has come up, or never will."""
    hopeless = facts["unit"] == "failed" or _number(facts["restarts"]) >= MOST_RESTARTS
    return hopeless or (bool(facts["heard-on"]) and bool(facts["ssh"]))


def guest_went_down(facts: Facts) -> CheckResult:
    """Seen from the next boot: it had the time to say its last line, and its disk is as it left it."""
    clean = "reboot: Power down" in facts["guest-log"]
    return CheckResult("guest powered down cleanly", clean, tail(facts["guest-log"], 3), "its kernel's last line")


def guest_disk_untouched(facts: Facts) -> CheckResult:
    before = _number(facts["booted"]) - _number(facts["guest-disk-written"])
    untouched = before >= 0 and facts["guest-disk-written"].isdecimal()
    return CheckResult("guest's disk untouched", untouched, f"written {before} s before this boot", "before this boot")


def booted_without_cable(facts: Facts, plugged: float) -> CheckResult:
    """`plugged`: seconds after power-on at which the cable was put in; multi-user was there before."""
    reached = _number(facts["multi-user"]) / 1e6
    found = f"multi-user after {reached:.0f} s, the cable put in after {plugged:.0f} s"
    return CheckResult("boots with the cable pulled", 0 < reached < plugged, found, "multi-user before the cable")


def unchanged(before: Facts, after: Facts) -> Iterator[CheckResult]:
    """A later boot makes nothing anew."""
    for name in UNCHANGING:
        same = after[name] == before[name]
        yield CheckResult(f"{name} since the first boot", same, "unchanged" if same else after[name], before[name])


def packages_clean(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """dpkg finds nothing half installed, and no file changed but by our edits."""
    yield equal("dpkg --audit", facts["dpkg-audit"], "")
    foreign = [line for line in facts["dpkg-verify"].splitlines() if _verified_path(line) not in want.edited]
    yield equal("dpkg --verify", "\n".join(foreign), "")


def _verified_path(line: str) -> str:
    """`??5?????? c /etc/x` or `missing     /lib/x`: the path is the rest from the first slash on, usr-merged."""
    path = line[line.index("/") :] if "/" in line else line
    return _USR_MERGED.sub(r"/usr/\1/", path)


def _number(text: str) -> int:
    """-1 for what is no number: the message of a tool that found nothing."""
    return int(text) if text.isdecimal() else -1


def _disk_id(table: str) -> str:
    match = re.search(r"^label-id: (\S+)", table, re.MULTILINE)
    return match[1] if match else ""


def _end(facts: Facts) -> str:
    return f"the guest's serial log ends in{tail(facts['log'], 5)}"
