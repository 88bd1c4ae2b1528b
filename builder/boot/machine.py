"""A Pi's stand-in: QEMU's `virt` board with a Cortex-A72, a larger disk than the image, and a cable to pull."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.boot.firmware import BootFiles
from builder.boot.probe import readable, tail
from builder.boot.qmp import Qmp
from builder.errors import BuildError
from builder.model.settings import StaticAddress
from builder.run import kill, run, start

CONSOLE = "console=ttyAMA0"
PORT_MAC = "dc:a6:32:00:00:01"
"""eth0's: a Raspberry Pi's, so that it cannot be mistaken for a derived one."""

_POLL = 2.0  # seconds
_ENDS = {
    "Kernel panic": "the kernel panicked",
    "(initramfs)": "the initrd found no root filesystem",
    "emergency mode": "systemd went into emergency mode",
}
"""What a serial line says when there is nothing more to wait for."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a machine is made of besides its disk. `words` are added to cmdline.txt, after the serial console's;
    `ssh_port` is the host's, 0 for any that is free."""

    files: BootFiles
    address: StaticAddress | None = None
    words: tuple[str, ...] = ()
    ssh_port: int = 0
    cpus: int = 2
    memory: str = "3G"

    def argv(self, disk: Path, serial: str) -> list[str]:
        initrd = ["-initrd", str(self.files.initrd)] if self.files.initrd else []
        return [
            *("qemu-system-aarch64", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi"),
            *("-smp", str(self.cpus), "-m", self.memory),
            *("-kernel", str(self.files.kernel), *initrd),
            *("-append", " ".join([self.files.cmdline, CONSOLE, *self.words])),
            *("-drive", f"if=none,id=ssd,file={disk},format=qcow2,discard=unmap,detect-zeroes=unmap"),
            *("-device", "virtio-blk-pci,drive=ssd", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=lan,{_lan(self.address, self.ssh_port)}"),
            *("-device", f"virtio-net-pci,id=cable,netdev=lan,mac={PORT_MAC},romfile="),
            *("-serial", serial),
        ]


def _lan(address: StaticAddress | None, ssh_port: int) -> str:
    """QEMU's own network, in which the Pi finds the gateway that it was told; ssh is forwarded to it."""
    if address is None:
        return f"hostfwd=tcp:127.0.0.1:{ssh_port}-:22"
    interface = ipaddress.IPv4Interface(address.address)
    return f"net={interface.network},host={address.gateway},hostfwd=tcp:127.0.0.1:{ssh_port}-{interface.ip}:22"


def scratch_disk(image: Path, path: Path, size: str = "16G") -> Path:
    """A larger disk that starts as the image, which itself stays as it is."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.resolve(), path, size])
    return path


@dataclass
class Machine:
    """Context manager: switched on when entered, its plug pulled when left. Its serial line is written to `log`.

    Raises BuildError when it does not start.
    """

    wiring: Wiring
    disk: Path
    log: Path
    cable: bool = True
    _stack: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            stderr = stack.enter_context(self.log.with_suffix(".qemu").open("w+b"))
            with theirs:
                number = theirs.fileno()
                control = ["-S", "-chardev", f"socket,id=qmp,fd={number}", "-mon", "chardev=qmp,mode=control"]
                argv = [*self.wiring.argv(self.disk, f"file:{self.log}"), *control]
                self._process = start(argv, stderr=stderr, pass_fds=[number])
            stack.callback(kill, self._process)
            try:
                self._qmp = Qmp(ours)
            except BuildError as error:
                said = self.log.with_suffix(".qemu").read_text(errors="replace")
                raise BuildError(f"the emulated Pi does not start: {error.message}{tail(said)}") from error
            stack.callback(self._qmp.close)
            if not self.cable:
                self.plug(connected=False)
            self.ssh_port = self._forwarded_port()
            self._qmp.execute("cont")
            self._switched_on = time.monotonic()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def seconds(self) -> float:
        """Since it was switched on; the board's clock goes as the host's does."""
        return time.monotonic() - self._switched_on

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def serial(self) -> str:
        return readable(self.log.read_text(errors="replace")) if self.log.exists() else ""

    def plug(self, *, connected: bool) -> None:
        """Put in or pull out the network cable."""
        self._qmp.execute("set_link", name="cable", up=connected)

    def pull_the_plug(self) -> None:
        """A power cut: what the disk has not acknowledged as written is gone."""
        kill(self._process)

    def wait(self, what: str, done: Callable[[], bool], seconds: float, poll: float = _POLL) -> None:
        """Raises BuildError, with the end of the serial log, when time is over or nothing more can come."""
        deadline = time.monotonic() + seconds
        while True:
            off, late = not self.running, time.monotonic() > deadline
            if done():
                return
            serial = self.serial()
            problem = next((meaning for sign, meaning in _ENDS.items() if sign in serial), "")
            if off or late or problem:
                problem = problem or ("the machine has gone off" if off else "not yet")
                raise BuildError(f"{what}: {problem} after {self.seconds:.0f} s; {self.log} ends in{tail(serial)}")
            time.sleep(poll)

    def wait_for_text(self, text: str, seconds: float) -> None:
        """Looked for often: what comes after it may take no longer than a second."""
        self.wait(f"{text!r} on the serial line", lambda: text in self.serial(), seconds, poll=0.05)

    def wait_off(self, seconds: float) -> None:
        self.wait("power-down", lambda: not self.running, seconds)

    def _forwarded_port(self) -> int:
        network = self._qmp.execute("human-monitor-command", **{"command-line": "info usernet"})
        match = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", network)
        if match is None:
            raise BuildError(f"QEMU forwards no port to ssh: {network}")
        return int(match[1])
