"""The x86_64 guest: its disk, its seed, the account that runs QEMU, and QEMU's arguments."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import parse

from builder.features.context import Context
from builder.features.feature import Feature
from builder.limits import MIB
from builder.model.edits import Edit
from builder.model.guest_machine import GuestMachine
from builder.model.patches import Line, Record
from builder.model.plan import Note
from builder.model.settings import Base, Guest

USER, ID = "pimu-guest", 900
HOME = "/var/lib/pimu/guest"
FILES = "/usr/share/pimu/guest"
_HELPER = "/usr/lib/qemu/qemu-bridge-helper"
_SUDO = 27
"""The gid of sudo on every Debian (base-passwd, group.master)."""
_STRONGER_ORDERING = parse("8.1")
"""The first QEMU that keeps an x86 guest's memory ordering on Arm with one thread per virtual CPU. An older one warns
of "strange/hard to debug errors" with thread=multi, and such errors do happen."""


def edits(context: Context) -> Iterator[Edit | Note]:
    if context.guest is None:
        return
    yield from _bridge_by_hand(context)
    yield from context.overlay("guest", key="guest")
    account = Record((USER, "x", str(ID), str(ID), "", HOME, "/usr/sbin/nologin"))
    yield context.patch("/etc/passwd", account, key="guest")
    yield context.patch("/etc/group", Record((USER, "x", str(ID), "")), key="guest")
    yield context.patch("/etc/shadow", Record((USER, "!*", "", "", "", "", "", "", "")), key="guest")
    yield context.patch("/etc/gshadow", Record((USER, "!*", "", "")), key="guest")
    # Owned by root: in a folder that QEMU may write, it could replace a file by a link to another of root's files.
    yield context.directory(HOME, key="guest", mode=0o750, gid=ID)
    yield context.place(f"{FILES}/base.qcow2", "guest-disk", key="guest", scope="golden", mode=0o644)
    if context.guest.kernel_words is not None:
        yield context.place(f"{FILES}/vmlinuz", "guest-kernel", key="guest", scope="golden", mode=0o644)
        yield context.place(f"{FILES}/initrd.img", "guest-initrd", key="guest", scope="golden", mode=0o644)
    yield context.place(f"{FILES}/seed.img", "guest-seed", key="guest_hostname", scope="node", mode=0o640, gid=ID)
    if not _threads_are_safe(context.base):
        yield Note(
            context.feature,
            f"accel thread=single: QEMU {context.base.qemu} keeps x86 memory ordering on Arm with one thread only "
            "(8.1 does with several), so the guest's CPUs share one core",
        )


def _bridge_by_hand(context: Context) -> Iterator[Edit]:
    """QEMU's bridge helper, for virtual machines that the Pi's administrators start themselves. The image's guest does
    not use it. Debian ships it without setuid; dpkg-statoverride(1) keeps our mode through updates."""
    yield from context.overlay("qemu-bridge", key="guest")
    yield context.set_mode(_HELPER, 0o4750, key="guest", gid=_SUDO)
    yield context.patch("/var/lib/dpkg/statoverride", Line(f"root sudo 4750 {_HELPER}"), key="guest")


def accelerator(context: Context, machine: GuestMachine) -> str:
    """The value of `-accel`. tb-size (MiB) limits the translated code; by default it may take an eighth of the Pi's
    memory."""
    thread = "multi" if _threads_are_safe(context.base) else "single"
    return f"tcg,thread={thread},tb-size={machine.tb_size // MIB}"


def cpu_model(context: Context, guest: Guest) -> str:
    """The value of `-cpu`: the guest's entry for the newest QEMU that is not newer than the base's. Raises
    ConfigurationError when there is no such entry."""
    model = guest.cpu_for(context.base.qemu)
    if model is None:
        raise context.refuse(f"the guest has no CPU model for QEMU {context.base.qemu} or older", key="guest")
    return model


def _threads_are_safe(base: Base) -> bool:
    return parse(base.qemu) >= _STRONGER_ORDERING


FEATURE = Feature(name="guest", order=150, package=__name__, edits=edits, lasting=("guest-disk",))
