"""The emulated Pi: QEMU's `virt` board with a Cortex-A72, a disk larger than the image, and a network cable to pull."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from builder import limits
from builder.boot.firmware import BootFiles
from builder.errors import BuildError
from builder.host.files import open_fresh
from builder.host.qmp import Qmp
from builder.host.run import kill, run, start
from builder.machines.confined import SANDBOX, confined
from builder.machines.handed import Handed
from builder.machines.network import LOOPBACK, Network
from builder.machines.serial_line import SerialLine
from builder.model.bridge import StaticAddress
from builder.text import tail

CONSOLE = "console=ttyAMA0"
PORT_MAC = "dc:a6:32:00:00:01"
"""The address of eth0. It has a prefix of Raspberry Pi, so it differs from every address that we derive."""

_POLL = 2.0  # seconds
_ENDS = {
    "Kernel panic": "the kernel panicked",
    "(initramfs)": "the initrd found no root filesystem",
    "emergency mode": "systemd went into emergency mode",
}
"""Texts on the serial line that mean that the boot has failed, with the reason."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """The parts of a machine other than its disks. `words` are added to cmdline.txt, after the word for the serial
    console. QEMU forwards `ssh_port` on the loopback of the machine's network to the Pi's ssh."""

    files: BootFiles
    ssh_port: int
    address: StaticAddress | None = None
    words: tuple[str, ...] = ()
    cpus: int = 2
    memory: str = "3G"

    def argv(self, disks: Disks, handed: Handed) -> list[str]:
        initrd = ["-initrd", handed.program(self.files.initrd)] if self.files.initrd else []
        machine = [
            *("qemu-system-aarch64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-sandbox", SANDBOX),
            *("-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi"),
            *("-smp", str(self.cpus), "-m", self.memory),
            *("-kernel", handed.program(self.files.kernel), *initrd),
            *("-append", " ".join([self.files.cmdline, CONSOLE, *self.words])),
            *disks.words(handed),
            *("-device", "virtio-blk-pci,drive=ssd", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=lan,{_lan(self.address, self.ssh_port)}"),
            *("-device", f"virtio-net-pci,id=cable,netdev=lan,mac={PORT_MAC},romfile="),
        ]
        return machine + handed.words


def _lan(address: StaticAddress | None, ssh_port: int) -> str:
    """Options of QEMU's user network: the Pi's configured gateway, and the forwarded port of ssh."""
    if address is None:
        return f"hostfwd=tcp:{LOOPBACK}:{ssh_port}-:22"
    interface = ipaddress.IPv4Interface(address.address)
    return f"net={interface.network},host={address.gateway},hostfwd=tcp:{LOOPBACK}:{ssh_port}-{interface.ip}:22"


@dataclass(frozen=True, slots=True)
class Disks:
    """A larger scratch disk over the image; the image stays unchanged. The words name the format and file of each
    layer, so that QEMU neither guesses a format from an image's first bytes nor follows a file name in a header."""

    image: Path
    scratch: Path

    def words(self, handed: Handed) -> list[str]:
        image, scratch = handed.disk(self.image), handed.disk(self.scratch, writable=True)
        trim = "discard=unmap,detect-zeroes=unmap,file.discard=unmap"
        return [
            *("-blockdev", f"driver=raw,node-name=image,read-only=on,{image}"),
            *("-blockdev", f"driver=qcow2,node-name=ssd,backing=image,{trim},{scratch}"),
        ]


def scratch_disk(image: Path, path: Path, size: str = "16G") -> Disks:
    run(["qemu-img", "create", "-q", "-f", "qcow2", path, size])
    return Disks(image, path)


@dataclass
class Machine:
    """A context manager: entering it switches the Pi on, leaving it pulls the plug. The serial line is written to
    `log`.

    Raises BuildError when QEMU does not start.
    """

    wiring: Wiring
    disks: Disks
    log: Path
    network: Network
    ssh_port: int
    cable: bool = True
    _stack: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            stderr = stack.enter_context(open_fresh(self.log.with_suffix(".qemu")))
            self._line = SerialLine(self.log)
            stack.callback(self._line.close)
            with theirs, Handed() as handed:
                control = ["-S", "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
                argv = [*self.wiring.argv(self.disks, handed), *self._line.words, *control]
                numbers = [*handed.numbers, theirs.fileno(), self._line.theirs.fileno()]
                self._process = start([*self.network.enter, *confined(), *argv], stderr=stderr, pass_fds=numbers)
            stack.callback(kill, self._process)
            self._line.theirs.close()
            try:
                self._qmp = Qmp(ours)
            except BuildError as error:
                said = self.log.with_suffix(".qemu").read_text(errors="replace")
                raise BuildError(f"the emulated Pi does not start: {error.message}{tail(said)}") from error
            stack.callback(self._qmp.close)
            if not self.cable:
                self.plug(connected=False)
            self._qmp.execute("cont")
            self._switched_on = time.monotonic()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def seconds(self) -> float:
        """Seconds since power-on. The board's clock runs at the speed of the host's."""
        return time.monotonic() - self._switched_on

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def serial(self) -> str:
        return self._line.text()

    def plug(self, *, connected: bool) -> None:
        """Put in or pull out the network cable."""
        self._qmp.execute("set_link", name="cable", up=connected)

    def pull_the_plug(self) -> None:
        """Cut the power. Writes that the disk has not acknowledged are lost."""
        kill(self._process)
        self._line.finish()

    def wait(self, what: str, done: Callable[[], bool], seconds: float, poll: float = _POLL) -> None:
        """Wait until `done`. Raises BuildError, with the end of the serial log, after `seconds`, or as soon as the
        machine is off or its boot has failed. `what` names the awaited thing in the error."""
        deadline = time.monotonic() + seconds
        while True:
            off, late = not self.running, time.monotonic() > deadline
            if off:
                self._line.finish()
            if done():
                return
            serial = self.serial()
            problem = f"it has said more than {limits.SERIAL} bytes" if self._line.overflowed else ""
            problem = problem or next((meaning for sign, meaning in _ENDS.items() if sign in serial), "")
            if off or late or problem:
                problem = problem or ("the machine has gone off" if off else "not yet")
                raise BuildError(f"{what}: {problem} after {self.seconds:.0f} s; {self.log} ends in{tail(serial)}")
            time.sleep(poll)

    def wait_for_text(self, text: str, seconds: float) -> None:
        """Wait for `text` on the serial line, with a short poll: the next step may take less than a second."""
        self.wait(f"{text!r} on the serial line", lambda: text in self.serial(), seconds, poll=0.05)

    def wait_off(self, seconds: float) -> None:
        self.wait("power-down", lambda: not self.running, seconds)
