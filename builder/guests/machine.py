"""The machine that an installer runs in: no display, no monitor; its serial line is all that it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder import recipe
from builder.appliance import kvm_usable
from builder.boot.probe import readable, tail
from builder.errors import BuildError, MissingToolError
from builder.guests.iso import LiveSystem
from builder.model.progress import Progress
from builder.model.settings import Guest
from builder.run import kill, start

MARK = "pimu-install: "
DONE = "done"
_POLL = 0.5  # seconds
_MEMORY = "1G"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for all of it, and without a word on the serial line."""

    total: float
    silence: float


PATIENCE = Patience(total=3600, silence=900)
"""Emulated on a busy machine it takes ten times as long as with KVM, and the packages come over the network."""


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

    def argv(self) -> list[str]:
        """The disk is the first of virtio, the ISO the second: one driver, which Alpine's initramfs has in any case."""
        return [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", self.guest.machine, *_processor(self.guest), "-m", _MEMORY),
            *("-kernel", str(self.system.kernel), "-initrd", str(self.system.initramfs), "-append", self.words),
            *("-drive", f"if=virtio,file={self.disk},format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap"),
            *("-drive", f"if=virtio,file={self.iso},format=raw,readonly=on"),
            *("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"),
            *("-netdev", "user,id=lan", "-device", "virtio-net-pci,netdev=lan,romfile="),
            *("-serial", f"file:{self.log}"),
        ]


def run_installer(machine: Machine, *, where: str, patience: Patience, progress: Progress) -> None:
    """Switch the machine on and wait until it powers off. What it tells is passed on.

    Raises BuildError, at `where` and with the end of the serial line, when it takes too long, fails, or ends without
    saying that it is done. That it says so proves nothing: see `builder.guests.checks`.
    """
    machine.log.touch()
    stderr = machine.log.with_suffix(".qemu")
    with stderr.open("wb") as errors:
        process = start(machine.argv(), stderr=errors)
    serial = _Serial(machine.log, progress)
    begun = time.monotonic()
    try:
        problem = _wait(process.poll, serial, patience)
    finally:
        kill(process)
    serial.follow()
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
    """What was said until the kernel panicked: the reason is before it, and a page of addresses behind it."""
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
    return ""


def _processor(guest: Guest) -> tuple[str, ...]:
    if kvm_usable():
        return "-accel", "kvm", "-cpu", "host"
    version = recipe.version("qemu-system-x86_64")
    model = guest.cpu_for(".".join(version.split(".")[:2]))
    if model is None:
        raise MissingToolError(
            f"QEMU {version} is older than all that the guest's profile has a processor for",
            hint="install a newer qemu-system-x86, or add a line to its `cpu`",
        )
    return "-accel", "tcg,thread=multi", "-cpu", model


@dataclass(slots=True)
class _Serial:
    """The log of a serial line, read while it grows. `last` is what the installer said last."""

    log: Path
    progress: Progress
    text: str = ""
    last: str = ""
    _told: int = 0

    def follow(self) -> bool:
        """Read on; whether there was anything new."""
        text = readable(self.log.read_text(errors="replace"))
        news = len(text) > len(self.text)
        self.text = text
        lines = text.splitlines(keepends=True)
        whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
        for line in whole[self._told :]:
            _, mark, said = line.strip().partition(MARK)
            if mark:
                self.last = said
                self.progress.step("guest", said)
        self._told = len(whole)
        return news
