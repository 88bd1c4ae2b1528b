"""The machine that an installer runs in: no display, no monitor; its serial line is all that it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import BuildError, MissingToolError
from builder.guest.iso import LiveSystem
from builder.guest.mirror import Mirror
from builder.host import tools
from builder.host.run import kill, start
from builder.machines.appliance import kvm_usable
from builder.machines.confined import SANDBOX, confined
from builder.machines.handed import Handed
from builder.machines.network import LOOPBACK, Place, private_network
from builder.machines.serial_line import SerialLine
from builder.model.progress import Progress
from builder.model.settings import Guest
from builder.text import tail

TOOLS = ("nsenter", "qemu-system-x86_64")

MARK = "pimu-install: "
DONE = "done"
_POLL = 0.5  # seconds
_MEMORY = "1G"
PROXY = Place(LOOPBACK, 3128)
"""The machine finds it at its gateway, 10.0.2.2: overlays/installers/ say so to its programs."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for all of it, and without a word on the serial line."""

    total: float
    silence: float


PATIENCE = Patience(total=limits.INSTALLER_SECONDS, silence=limits.INSTALLER_SILENCE_SECONDS)


@dataclass(frozen=True, slots=True)
class Machine:
    """The live system of an ISO with kernel words of ours, and the raw disk to install on. Its serial line is written
    to `log`."""

    guest: Guest
    system: LiveSystem
    words: str
    disk: Path
    iso: Path
    log: Path

    def argv(self, handed: Handed) -> list[str]:
        """The disk is the first of virtio, the ISO the second: one driver, which Alpine's initramfs has in any case."""
        kernel, initramfs = handed.program(self.system.kernel), handed.program(self.system.initramfs)
        disk, iso = handed.disk(self.disk, writable=True), handed.disk(self.iso)
        machine = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-sandbox", SANDBOX),
            *("-machine", self.guest.machine, *_processor(self.guest), "-m", _MEMORY),
            *("-kernel", kernel, "-initrd", initramfs, "-append", self.words),
            *("-drive", f"if=virtio,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,{disk}"),
            *("-drive", f"if=virtio,format=raw,readonly=on,{iso}"),
            *("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"),
            *("-netdev", "user,id=lan", "-device", "virtio-net-pci,netdev=lan,romfile="),
        ]
        return machine + handed.words


def run_installer(machine: Machine, mirror: Mirror, *, where: str, patience: Patience, progress: Progress) -> None:
    """Switch the machine on and wait until it powers off. It reaches `mirror` and nothing else. Its words are passed
    on.

    Raises BuildError, at `where` and with the end of the serial line, when it takes too long, fails, or ends without
    saying that it is done. That it says so proves nothing: see `builder.guest.checks`. MissingToolError where there
    can be no network namespace.
    """
    stderr = machine.log.with_suffix(".qemu")
    with private_network({PROXY: mirror.serve}) as network:
        serial = _Serial(SerialLine(machine.log), progress)
        with stderr.open("wb") as errors, Handed() as handed:
            argv = [*network.enter, *confined(kvm=kvm_usable()), *machine.argv(handed), *serial.line.words]
            numbers = [*handed.numbers, serial.line.theirs.fileno()]
            process = start(argv, stderr=errors, pass_fds=numbers)
        serial.line.theirs.close()
        begun = time.monotonic()
        try:
            problem = _wait(process.poll, serial, patience)
        finally:
            kill(process)
            serial.line.finish()
            serial.follow()
            serial.line.close()
    if not problem and process.returncode != 0:
        problem = f"cannot run: QEMU ended with {process.returncode}{tail(stderr.read_text(errors='replace'))}"
    elif not problem and serial.last != DONE:
        problem = f"has not installed the guest: {serial.last or 'it never began'}"
    if problem:
        seconds = time.monotonic() - begun
        raise BuildError(
            f"the installer {problem}; its serial line ended after {seconds:.0f} s in{tail(_told(serial.text))}",
            where=where,
            hint="the packages come over the network: is the mirror of the guest's profile within reach?",
        )


def _told(text: str) -> str:
    """The serial line up to the kernel's panic: the reason is before it, and a page of addresses behind it."""
    lines = text.splitlines()
    panic = next((number for number, line in enumerate(lines) if "Kernel panic" in line), len(lines))
    return "\n".join(lines[: panic + 1])


def _wait(ended: Callable[[], int | None], serial: _Serial, patience: Patience) -> str:
    """Until it has ended, or why nobody waits any longer."""
    begun = heard = time.monotonic()
    while ended() is None:
        time.sleep(_POLL)
        now = time.monotonic()
        heard = now if serial.follow() else heard
        if now - begun > patience.total:
            return f"is not done after {patience.total:.0f} s"
        if now - heard > patience.silence:
            return f"has said nothing for {patience.silence:.0f} s"
        if serial.line.overflowed:
            return f"has said more than {limits.SERIAL} bytes"
    return ""


def _processor(guest: Guest) -> tuple[str, ...]:
    if kvm_usable():
        return "-accel", "kvm", "-cpu", "host"
    version = tools.version("qemu-system-x86_64")
    model = guest.cpu_for(".".join(version.split(".")[:2]))
    if model is None:
        raise MissingToolError(
            f"QEMU {version} is older than all that the guest's profile has a processor for",
            hint="install a newer qemu-system-x86, or add a line to its `cpu`",
        )
    return "-accel", "tcg,thread=multi", "-cpu", model


@dataclass(slots=True)
class _Serial:
    """A serial line, followed while it grows. `last` are the installer's last words."""

    line: SerialLine
    progress: Progress
    text: str = ""
    last: str = ""
    _read: int = 0

    def follow(self) -> bool:
        """Read on; whether there was anything new."""
        text = self.line.text()
        news = len(text) > len(self.text)
        self.text = text
        end = text.rfind("\n") + 1
        for line in text[self._read : end].splitlines():
            _, mark, said = line.strip().partition(MARK)
            if mark:
                self.last = said
                self.progress.step("guest", said)
        self._read = max(self._read, end)
        return news
