"""The system calls that nothing in the sandbox may make, as a program for the kernel's seccomp (seccomp(2)).

The list follows the default profiles of systemd-nspawn (src/nspawn/nspawn-seccomp.c), flatpak (flatpak-run.c) and
podman (containers-common, seccomp.json). It denies the calls that reach past namespaces, and those that have often had
holes.
"""

from __future__ import annotations

import errno
import platform
from typing import BinaryIO

from builder.errors import MissingToolError

DENIED = (
    *("add_key", "keyctl", "request_key"),  # keyrings pass by namespaces
    *("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"),
    *("bpf", "fanotify_init", "lookup_dcookie", "perf_event_open", "userfaultfd"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup"),
    *("delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load", "reboot"),
    *("adjtimex", "clock_adjtime", "clock_settime", "settimeofday", "stime"),
    *("acct", "iopl", "ioperm", "modify_ldt", "nfsservctl", "quotactl", "quotactl_fd", "swapoff", "swapon", "syslog"),
    *("open_by_handle_at", "setns", "uselib", "vhangup", "vm86", "vm86old"),
    *("mbind", "migrate_pages", "move_pages", "set_mempolicy"),
)
"""They fail with EPERM. A name that an architecture or an older libseccomp does not know is left out."""

# Linux, include/linux/socket.h: local, IPv4, IPv6, netlink. Others, such as AF_VSOCK, know no network namespaces.
_FAMILIES = (1, 2, 10, 16)
_LAST_FAMILY = 64  # above every family of Linux 6.18 (AF_MAX is 46)
_CLONE_NEWUSER = 0x10000000
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into the terminal of the builder

_ALSO = {"x86_64": ("X86",), "aarch64": ("ARM",)}
"""Architectures whose programs the kernel runs beside its own; the kernel kills programs of any other one."""


def write_filter(file: BinaryIO) -> None:
    """Write the program in the form that `bwrap --seccomp` reads.

    Raises MissingToolError when libseccomp's module for Python is not installed.
    """
    try:
        import seccomp  # noqa: PLC0415  (the sandbox's own Python imports this module too, and needs no libseccomp)
    except ImportError as absent:
        hint = "make setup, or apt-get install python3-seccomp; the venv must see the system's packages"
        raise MissingToolError("the sandbox needs libseccomp's module for Python", hint=hint) from absent

    program = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in _ALSO.get(platform.machine(), ()):
        program.add_arch(getattr(seccomp.Arch, name))
    denied = seccomp.ERRNO(errno.EPERM)

    def deny(name: str, *conditions: object, action: object = denied) -> None:
        if seccomp.resolve_syscall(seccomp.Arch(), name) != -1:
            program.add_rule(action, name, *conditions)

    for name in DENIED:
        deny(name)
    for family in {*range(_LAST_FAMILY)} - {0, *_FAMILIES}:
        deny("socket", seccomp.Arg(0, seccomp.EQ, family), action=seccomp.ERRNO(errno.EAFNOSUPPORT))
    for name in ("clone", "unshare"):
        deny(name, seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_NEWUSER, _CLONE_NEWUSER))
    deny(
        "clone3", action=seccomp.ERRNO(errno.ENOSYS)
    )  # its flags are in memory, out of sight; libc falls back to clone
    for request in _TERMINAL_INPUT:
        deny("ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    program.export_bpf(file)
