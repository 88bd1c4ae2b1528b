"""Run one of our modules in mount, pid, network, ipc and uts namespaces of its own: as root, or rootless in a user
namespace with subordinate ids. When it ends, or we do, its processes and mounts are gone with it.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

from builder.errors import BuildError, ConfigurationError, DiskFullError, DownloadError, MissingToolError
from builder.room import NO_ROOM
from builder.run import failure, run, which

ERROR_MARK = "\x1e"
"""Before the message of an error that a module inside ends with: what it has said before was progress."""

NAMESPACES_REMEDY = (
    "in a container: give it CAP_SYS_ADMIN; else, as root: sysctl user.max_user_namespaces=10000 "
    "kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 (those that are there)"
)
MAPPING_REMEDY = (
    "in a container, as its root: chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap; "
    "setcap cap_setuid=ep /usr/bin/newuidmap; setcap cap_setgid=ep /usr/bin/newgidmap"
)
_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")


def run_inside(module: str, *arguments: str | Path, on_line: Callable[[str], None]) -> None:
    """`python -m module arguments`; each line that it writes to stderr goes to `on_line`.

    Raises the error that it ends with, else BuildError; MissingToolError when this user has no subordinate ids, or the
    kernel refuses the namespaces.
    """
    if refused := refusal():
        raise MissingToolError(f"this kernel lets us have no namespaces of our own ({refused})", hint=NAMESPACES_REMEDY)
    if refused := mapping_refusal():
        raise MissingToolError(f"our subordinate ids cannot be mapped ({refused})", hint=MAPPING_REMEDY)
    ended = False

    def progress(line: str) -> None:
        nonlocal ended
        ended = ended or line.startswith(ERROR_MARK)
        if not ended:
            on_line(line)

    result = run(
        ["unshare", *_user_namespace(), *_NAMESPACES, sys.executable, "-m", module, *arguments],
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=Path("/"),
        on_line=progress,
        check=False,
    )
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").rpartition(ERROR_MARK)[2].strip()
        kinds = {kind.exit_code: kind for kind in (ConfigurationError, DownloadError, MissingToolError)}
        full = any(os.strerror(number) in said for number in NO_ROOM)
        raise (DiskFullError if full else kinds.get(result.returncode, BuildError))(said or failure(result))


def refusal() -> str:
    """What unshare(1) says where the kernel refuses the namespaces, "" where it does not.

    Asked without subordinate ids: util-linux 2.38 would leave a child behind that waits for ever. One namespace more
    than user.max_user_namespaces is ENOSPC (user_namespaces(7)), which would pass for a full disk.
    """
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return _tried("unshare", *user, *_NAMESPACES, "true")


def mapping_refusal() -> str:
    """What newuidmap(1) says where it may not map our subordinate ids into a namespace that we can have, "" where it
    may, and for root. Setuid root, it needs CAP_SYS_ADMIN for that, which is not there in a container.

    Raises MissingToolError when there are no subordinate ids.
    """
    return "" if os.geteuid() == 0 else _tried("unshare", *_user_namespace(), "true")


def _tried(*words: str) -> str:
    result = run(words, check=False)
    said = result.stderr.decode(errors="replace").strip().splitlines()
    return "" if result.returncode == 0 else (said or ["refused"])[-1]


def remove_tree(path: Path) -> None:
    """Remove a tree whose files belong to subordinate ids, or that an overlay's work directory made unreadable."""
    run(["unshare", *_user_namespace(), "rm", "-rf", "--one-file-system", "--", path], cleans_up=True)


def _user_namespace() -> tuple[str, ...]:
    if os.geteuid() == 0:
        return ()
    if which("newuidmap") is None or not all(subordinate_ids(Path(file)) for file in ("/etc/subuid", "/etc/subgid")):
        raise MissingToolError(
            "without newuidmap and subordinate ids only root can bake packages",
            hint="apt install uidmap, and `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`",
        )
    return ("--user", "--map-root-user", "--map-auto")


def subordinate_ids(file: Path) -> str:
    """The first line of /etc/subuid or /etc/subgid that is this user's, "" without one. It begins with the user's name
    or number (subuid(5))."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line for line in lines if line.partition(":")[0] in (user_name(), str(os.geteuid()))), "")


def user_name() -> str:
    """The number, where the user is in no list: a container may run as anybody."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
