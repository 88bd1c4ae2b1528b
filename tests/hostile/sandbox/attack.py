"""For the attacks of this folder: system calls by name, and the targets on the host that the test has made."""

import ctypes
import errno
import json
import os
import sys
from pathlib import Path

import seccomp

TARGETS = json.loads(Path(__file__).with_name("targets.json").read_text())
if "downloads" in TARGETS:
    TARGETS["deb"] = next(str(path) for path in Path(TARGETS["downloads"]).iterdir() if path.name != "another")
_libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """The result of a system call. Raises OSError."""
    words = [ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word) for word in arguments]
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(seccomp.resolve_syscall(seccomp.Arch(), name)), *words)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def reached(name, *arguments):
    """Whether the kernel does a call, or finds fault with its arguments only: the right to make it is there then."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
    return True


def processes():
    return [Path("/proc", name) for name in os.listdir("/proc") if name.isdecimal()]


def everywhere(path):
    """The contents of a host's path, by the root of every process that is seen and by its open folders."""
    found = [Path(path)]
    for process in processes():
        found += [
            Path(f"{process}/root{path}"),
            Path(f"{process}/cwd{path}"),
            Path(f"{process}/map_files/../root{path}"),
        ]
    for candidate in found:
        try:
            return candidate.read_bytes()
        except OSError:
            continue
    sys.exit("not found")
