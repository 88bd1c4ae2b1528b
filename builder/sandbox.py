"""Run one of our modules in mount, pid, network, ipc and uts namespaces of its own: as root, or rootless in a user
namespace with subordinate ids. When it ends, or we do, its processes and mounts are gone with it.
"""

from __future__ import annotations

import errno
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

from builder.errors import BuildError, ConfigurationError, DiskFullError, DownloadError, MissingToolError
from builder.run import failure, run, which

ERROR_MARK = "\x1e"
"""Before the message of an error that a module inside ends with: what it has said before was progress."""

_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")


def run_inside(module: str, *arguments: str | Path, on_line: Callable[[str], None]) -> None:
    """`python -m module arguments`; each line that it writes to stderr goes to `on_line`.

    Raises the error that it ends with, else BuildError; MissingToolError when this user has no subordinate ids.
    """
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
        full = os.strerror(errno.ENOSPC) in said
        raise (DiskFullError if full else kinds.get(result.returncode, BuildError))(said or failure(result))


def remove_tree(path: Path) -> None:
    """Remove a tree whose files belong to subordinate ids, or that an overlay's work directory made unreadable."""
    run(["unshare", *_user_namespace(), "rm", "-rf", "--one-file-system", "--", path], cleans_up=True)


def _user_namespace() -> tuple[str, ...]:
    if os.geteuid() == 0:
        return ()
    if which("newuidmap") is None or not all(_has_range(Path(file)) for file in ("/etc/subuid", "/etc/subgid")):
        raise MissingToolError(
            "without newuidmap and subordinate ids only root can bake packages",
            hint="apt install uidmap, and `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`",
        )
    return ("--user", "--map-root-user", "--map-auto")


def _has_range(file: Path) -> bool:
    """subuid(5): a line begins with the user's name or number."""
    user = pwd.getpwuid(os.geteuid())
    lines = file.read_text().splitlines() if file.exists() else []
    return any(line.partition(":")[0] in (user.pw_name, str(user.pw_uid)) for line in lines)
