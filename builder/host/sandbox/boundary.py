"""The commands that put a program behind the boundary: bubblewrap twice, with a user namespace between them.

The first bwrap has the rights of the builder. It binds what the program may see into a folder, read-only but for
results. Then enter.sh makes a user namespace without the builder's own id. The second bwrap runs in there: the kernel
locks every mount that it finds (mount_namespaces(7)), so no root of the sandbox can make one writable, or look beneath.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.errors import MissingToolError

_ENTER = Path(__file__).with_name("enter.sh")
_ROOT = "/sandbox"
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_TEMPORARY = ("tmp", "var/tmp", "dev/shm")
_IDS = 65536
_FEWEST_IDS = 65535  # Debian's `nobody` is 65534

FIRST_ID = 0x80000
"""systemd's list of user ids (docs/UIDS-GIDS.md): 524288 to 1879048191 belong to containers, and to no account."""

# Debian's own accounts, the same on every machine, in place of this machine's: dpkg looks up the owners of files.
_ETC = {
    "/usr/share/base-passwd/passwd.master": "/etc/passwd",
    "/usr/share/base-passwd/group.master": "/etc/group",
    "/etc/alternatives": "/etc/alternatives",
    "/etc/ld.so.cache": "/etc/ld.so.cache",
}
_MEMORY_LIMIT = "/sys/fs/cgroup/memory.max"

# capabilities(7). SYS_ADMIN is for the bake's mounts. All of them count for objects that the namespaces own, and for
# nothing else.
_CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL"),
    *("MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_CHROOT"),
    *("SYS_NICE", "SYS_RESOURCE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Files of the host that are seen inside; the sandbox's ids are others to them.

    `reads`: by the path inside, a file or folder that others may read. `writes`: files that others may write to.
    `room`: a folder likewise. These two have the same path inside.
    """

    reads: Mapping[Path, Path]
    writes: Sequence[Path] = ()
    room: Path | None = None


def ids(*maps: str) -> tuple[int, int]:
    """First id and number of ids for the sandbox, of those that a namespace has for users and for groups alike.

    `maps`: its /proc/PID/uid_map and gid_map, lines `inside outside count`. The first id is never 0: that is the
    builder's own there.
    Raises MissingToolError when there are too few ids.
    """
    for count in (_IDS, _FEWEST_IDS):
        for first in (FIRST_ID, 1):
            if all(_has(text, first, count) for text in maps):
                return first, count
    hint = f"give this container or user {_IDS} ids beside its own: subuid(5), user_namespaces(7)"
    raise MissingToolError("there are too few user ids for the sandbox", hint=hint)


def _has(text: str, first: int, count: int) -> bool:
    """Whether a map has all ids from `first` on. Neighbours count as one range: `0 1000 1`, `1 100000 65536`."""
    for inside, _, length in sorted(tuple(map(int, line.split())) for line in text.splitlines()):
        if inside <= first < inside + length:
            taken = min(count, inside + length - first)
            first, count = first + taken, count - taken
    return count == 0


def command(
    argv: Sequence[str | Path], shared: Shared, *, chosen: tuple[int, int], filter_file: Path, env: Mapping[str, str]
) -> list[str | Path]:
    """`argv` behind the boundary. To be run as root of the namespace whose ids were `chosen`.

    It begins with `env`, for the kernel shows the environment that a process was started with: the builder's has the
    passwords of proxies.
    """
    settings = [f"{name}={value}" for name, value in env.items()]
    launcher = ("--proc", "/proc", "--dir", f"/{_TEMPORARY[0]}", "--dev", "/dev", "--ro-bind", _ENTER, "/enter.sh")
    capabilities = (word for name in _CAPABILITIES for word in ("--cap-add", f"CAP_{name}"))
    first: list[str | Path] = ["bwrap", "--die-with-parent", "--unshare-pid", *_system(""), *launcher]
    second: list[str | Path] = [
        "bwrap",
        "--die-with-parent",
        "--new-session",
        "--hostname",
        "localhost",
        "--chdir",
        "/",
    ]
    second += [f"--unshare-{name}" for name in ("pid", "net", "ipc", "uts", "cgroup-try")]
    second += ["--cap-drop", "ALL", *capabilities, "--dev-bind", _ROOT, "/", "--proc", "/proc", "--seccomp", "9"]
    return [
        *("env", "--ignore-environment", *settings),
        *(*first, "--ro-bind", filter_file, "/filter", *_sandbox(shared)),
        *("--", "/bin/sh", "/enter.sh", str(chosen[0]), str(chosen[1])),
        *(*second, "--", *argv),
    ]


def _system(root: str) -> Iterator[str | Path]:
    """The host's programs and libraries."""
    yield from ("--ro-bind", "/usr", f"{root}/usr")
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), f"{root}/{name}")
        elif path.is_dir():
            yield from ("--ro-bind", path, f"{root}/{name}")


def _sandbox(shared: Shared) -> Iterator[str | Path]:
    paths = [Path(_MEMORY_LIMIT), *map(Path, _ETC.values()), *shared.reads, *shared.writes]
    yield from ("--perms", "0755", "--dir", _ROOT)
    yield from _system(_ROOT)
    yield from ("--dir", f"{_ROOT}/proc", "--dev", f"{_ROOT}/dev")
    for name in _TEMPORARY:
        yield from ("--perms", "1777", "--tmpfs", f"{_ROOT}/{name}")
    for parent in _folders([*paths, shared.room] if shared.room else paths):
        yield from ("--perms", "0755", "--dir", f"{_ROOT}{parent}")
    for file, target in (*_ETC.items(), (_MEMORY_LIMIT, _MEMORY_LIMIT)):
        yield from ("--ro-bind-try", file, f"{_ROOT}{target}")
    for place, source in sorted(shared.reads.items()):
        yield from ("--ro-bind", source.resolve(), f"{_ROOT}{place}")
    for path in (*shared.writes, *([shared.room] if shared.room else [])):
        yield from ("--bind", path.resolve(), f"{_ROOT}{path.absolute()}")


def _folders(paths: Iterable[Path]) -> list[Path]:
    """The folders that hold paths, outermost first: bwrap would make some that only the builder may enter."""
    made = {Path("/"), *(Path("/", name) for name in _TEMPORARY)}
    folders = {parent for path in paths for parent in path.absolute().parents if not parent.is_relative_to("/usr")}
    return sorted(folders - made)


def is_for_all(path: Path) -> bool:
    """Whether others may read a file, or a folder and all in it. The builder's files are another's in the sandbox."""
    if not path.is_dir():
        return bool(path.stat().st_mode & 0o004)
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__"]
        if Path(folder).stat().st_mode & 0o005 != 0o005:
            return False
        if not all(Path(folder, name).lstat().st_mode & 0o004 for name in files):
            return False
    return True
