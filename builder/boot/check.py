"""`boot --check`: one whole life of a Pi on a scratch copy of its image, and what must be true at each stage.

First boot with the guest, power-down, second boot without the guest and with the cable pulled out for a while.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder.boot import checks
from builder.boot.checks import CheckResult
from builder.boot.expected import Expected, expected_of
from builder.boot.firmware import boot_files
from builder.boot.machine import Machine, Wiring, scratch_disk
from builder.boot.probe import Facts, last_line, parse, script
from builder.boot.ssh import Shell
from builder.errors import BuildError
from builder.model.identity import link_local
from builder.model.manifest import Manifest
from builder.model.progress import Progress

BOOT_TIMEOUT = 900.0  # seconds, each: about ten times what two quiet cores need
PROBE_TIMEOUT = 900.0
GUEST_TIMEOUT = 3600.0
SETTLING = 180.0
_TELLING = ("systemd.show_status=1", "systemd.status_unit_format=name")
_WITHOUT_GUEST = (*_TELLING, "systemd.mask=pimu-guest.service")

_MACHINE_ID = "machine-id"
CUTS = (_MACHINE_ID, "pimu-grow", "pimu-hostkeys", "pimu-swap", "pimu-guest-disk")
"""Steps of the first boot in which a power cut must do no lasting harm."""


def check(
    image: Path,
    manifest: Manifest,
    identity: Path,
    log_dir: Path,
    progress: Progress,
    *,
    while_up: Callable[[Shell], Iterable[CheckResult]] = lambda _: (),
) -> list[CheckResult]:
    """Every check of the life above, in order; the first that never comes to pass ends the list.

    `identity` is the private key of one of the node's ssh keys. Serial logs stay in `log_dir`. `while_up` has more to
    look for, once the guest is up for the first time. Raises MissingToolError,
    and BuildError when the image holds nothing to boot.
    """
    with _bench(image, manifest, log_dir) as (wiring, disk):
        life = _Life(expected_of(manifest), identity, disk, log_dir, progress)
        return list(_told(life.whole(wiring, while_up), progress))


def check_power_cut(
    image: Path, manifest: Manifest, identity: Path, log_dir: Path, progress: Progress, *, step: str
) -> list[CheckResult]:
    """Cut the power while the first boot is in `step` (one of CUTS): the next boot must be as good as a first.

    QEMU is killed: what the disk had acknowledged is kept, as an SSD with power-loss protection would.
    """
    with _bench(image, manifest, log_dir) as (wiring, disk):
        life = _Life(expected_of(manifest), identity, disk, log_dir, progress)
        return list(_told(life.cut_short(wiring, step), progress))


@contextmanager
def _bench(image: Path, manifest: Manifest, log_dir: Path) -> Iterator[tuple[Wiring, Path]]:
    log_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pimu-boot-", dir=log_dir) as scratch:
        files = boot_files(image, manifest.layout, Path(scratch))
        wiring = Wiring(files, address=expected_of(manifest).address)
        yield wiring, scratch_disk(image, Path(scratch, "ssd.qcow2"))


def _told(results: Iterator[CheckResult], progress: Progress) -> Iterator[CheckResult]:
    """Each result as it comes; a stage that does not come to its end is a failed check."""
    began = time.monotonic()

    def tell(result: CheckResult) -> CheckResult:
        mark = "ok" if result.passed else "FAILED"
        progress.step("boot", f"{time.monotonic() - began:4.0f} s  {mark}  {result.describe()}")
        return result

    try:
        for result in results:
            yield tell(result)
    except BuildError as error:
        yield tell(CheckResult("boot", False, str(error), "to go on"))


@dataclass(frozen=True, slots=True)
class _Life:
    """The stages; each is a Pi that is switched on and off, all on one disk."""

    want: Expected
    identity: Path
    disk: Path
    log_dir: Path
    progress: Progress

    def whole(self, wiring: Wiring, while_up: Callable[[Shell], Iterable[CheckResult]]) -> Iterator[CheckResult]:
        with Machine(wiring, self.disk, self.log_dir / "serial-1.log") as pi:
            shell = self._shell(pi)
            yield self._answers(pi, shell)
            first = self._probe(shell)
            yield from checks.system_checks(first, self.want)
            if self.want.guest:
                yield from self._guest(pi, shell)
            yield from while_up(shell)
            yield self._power_down(pi, shell)
        without_guest = replace(wiring, words=_WITHOUT_GUEST)
        with Machine(without_guest, self.disk, self.log_dir / "serial-2.log", cable=False) as pi:
            self._boot_without_cable(pi)
            plugged = pi.seconds
            pi.plug(connected=True)
            shell = self._shell(pi)
            yield self._answers(pi, shell)
            second = self._probe(shell, packages=True)
            yield from checks.system_checks(second, self.want)
            yield checks.booted_without_cable(second, plugged)
            yield from checks.unchanged(first, second)
            yield from checks.packages_clean(second, self.want)
            if self.want.guest:
                yield checks.guest_went_down(second)
                yield checks.guest_disk_untouched(second)
            yield self._power_down(pi, shell)

    def cut_short(self, wiring: Wiring, step: str) -> Iterator[CheckResult]:
        with Machine(replace(wiring, words=_TELLING), self.disk, self.log_dir / f"serial-{step}-cut.log") as pi:
            begun = "Initializing machine ID" if step == _MACHINE_ID else f"Starting {step}.service"
            pi.wait_for_text(begun, BOOT_TIMEOUT)
            pi.pull_the_plug()
            over = f"Finished {step}.service" in pi.serial()
            yield CheckResult("power cut", not over, f"in {step} after {pi.seconds:.0f} s", "before its end")
        with Machine(wiring, self.disk, self.log_dir / f"serial-{step}-healed.log") as pi:
            shell = self._shell(pi)
            yield self._answers(pi, shell)
            yield from checks.system_checks(self._probe(shell), self.want)
            yield self._power_down(pi, shell)

    def _shell(self, pi: Machine) -> Shell:
        return Shell(self.want.settings.user.name, pi.ssh_port, self.identity)

    def _answers(self, pi: Machine, shell: Shell) -> CheckResult:
        pi.wait("ssh with the node's key", shell.answers, BOOT_TIMEOUT)
        return CheckResult("ssh answers", True, f"after {pi.seconds:.0f} s", "")

    def _probe(self, shell: Shell, *, packages: bool = False) -> Facts:
        probe = script(
            "probe.sh",
            BOOT_MOUNT=self.want.boot_mount,
            PORT=self.want.settings.bridge.port,
            PACKAGES="yes" if packages else "no",
        )
        return parse(shell.run(probe, PROBE_TIMEOUT))

    def _guest(self, pi: Machine, shell: Shell) -> Iterator[CheckResult]:
        """The last look is judged, with the port from any look: the bridge forgets who is silent for five minutes."""
        mac = self.want.identity.guest_mac
        look = script("guest.sh", GUEST_MAC=mac, GUEST_ADDRESS=link_local(mac))
        heard = ""
        deadline = pi.seconds + GUEST_TIMEOUT
        while True:
            facts = parse(shell.run(look, PROBE_TIMEOUT))
            heard = facts["heard-on"] or heard
            facts = {**facts, "heard-on": heard}
            if checks.guest_is_settled(facts) or pi.seconds > deadline:
                break
            self.progress.step("boot", f"{pi.seconds:4.0f} s  guest: {last_line(facts['log'])}")
        yield from checks.guest_checks(facts, self.want)

    def _power_down(self, pi: Machine, shell: Shell) -> CheckResult:
        began, machine = pi.seconds, self.want.settings.machine
        shell.send(b"systemctl poweroff\n")
        pi.wait_off(BOOT_TIMEOUT + (machine.stop_timeout if machine else 0))
        off = "reboot: Power down" in pi.serial()  # QEMU ends at a reboot too
        return CheckResult("power-down", off, f"took {pi.seconds - began:.0f} s", "the kernel's last line to say so")

    def _boot_without_cable(self, pi: Machine) -> None:
        """Until the last target is reached. systemd's line of it may be lost, when getty resets the terminal just then:
        what counts is what it says afterwards, so after a while the cable is put in all the same."""
        pi.wait_for_text(f"{self.want.settings.hostname} login:", BOOT_TIMEOUT)
        deadline = pi.seconds + SETTLING
        while "Reached target multi-user.target" not in pi.serial() and pi.seconds < deadline:
            time.sleep(1)
