"""`boot --check`: boot a scratch copy of an image twice, and check the system at each stage.

The stages: first boot with the guest, power-down, second boot without the guest and without the network cable for a
while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder import limits
from builder.boot import checks
from builder.boot.expected import expected_of
from builder.boot.firmware import boot_files
from builder.boot.machine import Disks, Machine, Wiring, scratch_disk
from builder.boot.probe import guest_probe, last_line, parse, system_probe
from builder.boot.reach import CLOSED, Access, network_of
from builder.boot.ssh import Shell
from builder.errors import BuildError
from builder.features.boot_check import CheckResult, Expected, Facts
from builder.features.guest.checks import guest_checks, guest_disk_untouched, guest_is_settled, guest_went_down
from builder.host.scratch import BOOT, scratch_folder
from builder.machines.network import Network
from builder.model.identity import link_local
from builder.model.manifest import Manifest
from builder.model.progress import Progress

_TELLING = ("systemd.show_status=1", "systemd.status_unit_format=name")
_WITHOUT_GUEST = (*_TELLING, "systemd.mask=pimu-guest.service")

_MACHINE_ID = "machine-id"
CUTS = (_MACHINE_ID, "pimu-grow", "pimu-hostkeys", "pimu-swap", "pimu-guest-disk")
"""Steps of the first boot. A power cut in any of them must do no lasting harm."""


def check(
    image: Path,
    manifest: Manifest,
    identity: Path,
    log_dir: Path,
    progress: Progress,
    *,
    access: Access = CLOSED,
    while_up: Callable[[Shell], Iterable[CheckResult]] = lambda _: (),
) -> list[CheckResult]:
    """The results of all stages above, in order. A stage that does not come to its end ends the list.

    `identity` is the private key of one of the node's ssh keys. Serial logs stay in `log_dir`. `while_up` makes more
    checks when the guest is up for the first time. Raises MissingToolError, BuildError when the image has nothing to
    boot, and ConfigurationError when `access` names an address that the Pi cannot reach.
    """
    with _bench(image, manifest, log_dir, access) as (wiring, bench):
        life = _Life(expected_of(manifest), identity, bench, log_dir, progress)
        return list(_told(life.whole(wiring, while_up), progress))


def check_power_cut(
    image: Path, manifest: Manifest, identity: Path, log_dir: Path, progress: Progress, *, step: str
) -> list[CheckResult]:
    """Cut the power while the first boot is in `step` (one of CUTS). The next boot must pass the checks of a first one.

    The cut kills QEMU. Writes that the disk has acknowledged are kept, as on an SSD with power-loss protection. Raises
    as `check` does.
    """
    with _bench(image, manifest, log_dir, CLOSED) as (wiring, bench):
        life = _Life(expected_of(manifest), identity, bench, log_dir, progress)
        return list(_told(life.cut_short(wiring, step), progress))


@dataclass(frozen=True, slots=True)
class _Bench:
    """The disks, the network, and the port of this host that leads to the Pi's ssh. All stages share them."""

    disks: Disks
    network: Network
    ssh_port: int


@contextmanager
def _bench(image: Path, manifest: Manifest, log_dir: Path, access: Access) -> Iterator[tuple[Wiring, _Bench]]:
    address = expected_of(manifest).address
    if log_dir.is_symlink():
        raise BuildError("is a symlink, and logs go into a folder", where=str(log_dir), hint="name another: --logs DIR")
    log_dir.mkdir(parents=True, exist_ok=True)
    with (
        scratch_folder(BOOT, log_dir) as scratch,
        network_of(access, address) as (network, inner, outer),
    ):
        files = boot_files(image, manifest.layout, scratch)
        disks = scratch_disk(image, scratch / "ssd.qcow2")
        yield Wiring(files, inner, address=address), _Bench(disks, network, outer)


def _told(results: Iterator[CheckResult], progress: Progress) -> Iterator[CheckResult]:
    """Pass on each result as soon as it is known, and print it. A BuildError becomes a failed result, the last one."""
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
    """The stages. Each switches a Pi on and off again; all use the same disk."""

    want: Expected
    identity: Path
    bench: _Bench
    log_dir: Path
    progress: Progress

    def whole(self, wiring: Wiring, while_up: Callable[[Shell], Iterable[CheckResult]]) -> Iterator[CheckResult]:
        with self._machine(wiring, "serial-1.log") as pi:
            shell = self._shell(pi)
            yield self._answers(pi, shell)
            first = self._probe(shell)
            yield from checks.system_checks(first, self.want)
            if self.want.guest:
                yield from self._guest(pi, shell)
            yield from while_up(shell)
            yield self._power_down(pi, shell)
        without_guest = replace(wiring, words=_WITHOUT_GUEST)
        with self._machine(without_guest, "serial-2.log", cable=False) as pi:
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
                yield guest_went_down(second)
                yield guest_disk_untouched(second)
            yield self._power_down(pi, shell)

    def cut_short(self, wiring: Wiring, step: str) -> Iterator[CheckResult]:
        with self._machine(replace(wiring, words=_TELLING), f"serial-{step}-cut.log") as pi:
            begun = "Initializing machine ID" if step == _MACHINE_ID else f"Starting {step}.service"
            pi.wait_for_text(begun, limits.BOOT_SECONDS)
            pi.pull_the_plug()
            over = f"Finished {step}.service" in pi.serial()
            yield CheckResult("power cut", not over, f"in {step} after {pi.seconds:.0f} s", "before its end")
        with self._machine(wiring, f"serial-{step}-healed.log") as pi:
            shell = self._shell(pi)
            yield self._answers(pi, shell)
            yield from checks.system_checks(self._probe(shell), self.want)
            yield self._power_down(pi, shell)

    def _machine(self, wiring: Wiring, log: str, *, cable: bool = True) -> Machine:
        bench = self.bench
        return Machine(wiring, bench.disks, self.log_dir / log, bench.network, bench.ssh_port, cable)

    def _shell(self, pi: Machine) -> Shell:
        return Shell(self.want.settings.user.name, pi.ssh_port, self.identity)

    def _answers(self, pi: Machine, shell: Shell) -> CheckResult:
        pi.wait("ssh with the node's key", shell.answers, limits.BOOT_SECONDS)
        return CheckResult("ssh answers", True, f"after {pi.seconds:.0f} s", "")

    def _probe(self, shell: Shell, *, packages: bool = False) -> Facts:
        probe = system_probe(BOOT_MOUNT=self.want.boot_mount, PACKAGES="yes" if packages else "no")
        return parse(shell.run(probe, limits.BOOT_PROBE_SECONDS))

    def _guest(self, pi: Machine, shell: Shell) -> Iterator[CheckResult]:
        """Ask until the guest is settled or time is over, and judge the last answer. The port may come from an earlier
        answer: the bridge forgets a guest that is silent for five minutes."""
        mac = self.want.identity.guest_mac
        look = guest_probe(GUEST_MAC=mac, GUEST_ADDRESS=link_local(mac))
        heard = ""
        deadline = pi.seconds + limits.BOOT_GUEST_SECONDS
        while True:
            facts = parse(shell.run(look, limits.BOOT_PROBE_SECONDS))
            heard = facts["heard-on"] or heard
            facts = {**facts, "heard-on": heard}
            if guest_is_settled(facts) or pi.seconds > deadline:
                break
            self.progress.step("boot", f"{pi.seconds:4.0f} s  guest: {last_line(facts['log'])}")
        yield from guest_checks(facts, self.want)

    def _power_down(self, pi: Machine, shell: Shell) -> CheckResult:
        began, machine = pi.seconds, self.want.settings.machine
        shell.send(b"systemctl poweroff\n")
        pi.wait_off(limits.BOOT_SECONDS + (machine.stop_timeout if machine else 0))
        off = "reboot: Power down" in pi.serial()  # QEMU ends at a reboot too
        return CheckResult("power-down", off, f"took {pi.seconds - began:.0f} s", "the kernel's last line to say so")

    def _boot_without_cable(self, pi: Machine) -> None:
        """Wait for systemd's line about the last target, but not for ever: getty may reset the terminal and erase that
        line. The time that counts is the one that systemd itself tells later."""
        pi.wait_for_text(f"{self.want.settings.hostname} login:", limits.BOOT_SECONDS)
        deadline = pi.seconds + limits.BOOT_SETTLING_SECONDS
        while "Reached target multi-user.target" not in pi.serial() and pi.seconds < deadline:
            time.sleep(1)
