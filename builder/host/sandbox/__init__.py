"""Run one of our modules behind a boundary: as root, or rootless with subordinate ids. It has namespaces of its own for
users, files, processes, network, ipc and host name, and sees the files that it is given. When it ends, or we do, its
processes and mounts are gone with it.
"""

from __future__ import annotations

import functools
import os
import pwd
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.errors import BuildError, ConfigurationError, DiskFullError, DownloadError, MissingToolError
from builder.host.free_space import NO_ROOM
from builder.host.run import environment, failure, run, which
from builder.host.sandbox.boundary import Shared, command, ids, is_for_all
from builder.host.sandbox.syscalls import write_filter

TOOLS = ("chmod", "cp", "env", "rm", "unshare")

ERROR_MARK = "\x1e"
"""Stands before the message of an error that a module inside ends with: its earlier lines were progress."""

NAMESPACES_REMEDY = (
    "in a container: give it CAP_SYS_ADMIN; else, as root: sysctl user.max_user_namespaces=10000 "
    "kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 (those that are there)"
)
TRUST_REMEDY = (
    f"{NAMESPACES_REMEDY}; --trust-packages needs them too: without a mount namespace the mounts of a bake would be "
    "this machine's"
)
"""Where packages are configured, with or without a boundary."""
MAPPING_REMEDY = (
    "in a container, as its root: chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap; "
    "setcap cap_setuid=ep /usr/bin/newuidmap; setcap cap_setgid=ep /usr/bin/newgidmap"
)
BOUNDARY_REMEDY = (
    "in a container: start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined (podman: unmask=ALL); else, as root: "
    f"{NAMESPACES_REMEDY.rpartition(': ')[2]}; "
    "or trust each package with this machine: --trust-packages"
)
ROOM = "room"
"""The part of the work folder that the module inside may write into."""

_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
_PACKAGES = Path(__file__).parents[3]
_BUILDERS_OWN = ("HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "http_proxy", "https_proxy", "no_proxy")


def run_inside(
    module: str,
    *arguments: str | Path,
    work: Path,
    reads: Iterable[Path] = (),
    writes: Iterable[Path] = (),
    trusted: bool = False,
    on_line: Callable[[str], None],
) -> None:
    """`python -m module arguments` behind the boundary; each line that it writes to stderr goes to `on_line`.

    `work`: an empty folder of the caller. The module may write into its subfolder ROOM, read `reads` and write to the
    files `writes`, which are made here, empty. All have the same paths inside.
    `trusted`: go on without a boundary where the kernel refuses it, and say so. The namespaces of `run_trusted` are
    needed even then: a mount would be the host's, and stay there.

    Raises the error that the module ends with, else BuildError; MissingToolError when this user has no subordinate ids,
    or the kernel refuses the namespaces.
    """
    if refused := refusal():
        raise MissingToolError(f"this kernel lets us have no namespaces of our own ({refused})", hint=TRUST_REMEDY)
    if refused := mapping_refusal():
        raise MissingToolError(f"our subordinate ids cannot be mapped ({refused})", hint=MAPPING_REMEDY)
    (work / ROOM).mkdir()
    (work / ROOM).chmod(0o777)  # work itself may be ours alone
    for file in writes:
        file.touch()
        file.chmod(0o666)
    if refused := boundary_refusal():
        if not trusted:
            message = f"this kernel lets us have no boundary between packages and this machine ({refused})"
            raise MissingToolError(message, hint=BOUNDARY_REMEDY)
        on_line("without a boundary: each package is trusted with this machine")
        run_trusted(module, *arguments, on_line=on_line)
    else:
        seen = {path.absolute() for path in (*reads, *_python(module))}
        shared = Shared(reads=_readable(seen, work), writes=tuple(writes), room=work / ROOM)
        _run(_behind([sys.executable, "-m", module, *arguments], shared, work), on_line)


def keep(made: Path, folder: Path) -> None:
    """Move a file of `writes` into a folder of the same filesystem, with the mode of an ordinary file."""
    made.chmod(0o644)
    made.rename(folder / made.name)


def run_trusted(module: str, *arguments: str | Path, on_line: Callable[[str], None]) -> None:
    """`python -m module arguments` with a network and mounts of its own, but with this machine's files and, for root,
    its rights. Raises as `run_inside` does."""
    _run(["unshare", *_user_namespace(), *_NAMESPACES, sys.executable, "-m", module, *arguments], on_line)


def _run(argv: Sequence[str | Path], on_line: Callable[[str], None]) -> None:
    ended = False

    def progress(line: str) -> None:
        nonlocal ended
        ended = ended or line.startswith(ERROR_MARK)
        if not ended:
            on_line(line)

    result = run(argv, env=_ENVIRONMENT, cwd=Path("/"), on_line=progress, check=False)
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").rpartition(ERROR_MARK)[2].strip()
        kinds = {kind.exit_code: kind for kind in (ConfigurationError, DownloadError, MissingToolError)}
        full = any(os.strerror(number) in said for number in NO_ROOM)
        raise (DiskFullError if full else kinds.get(result.returncode, BuildError))(said or failure(result))


_ENVIRONMENT = {"PYTHONPATH": str(_PACKAGES), "PYTHONDONTWRITEBYTECODE": "1"}


def _behind(argv: Sequence[str | Path], shared: Shared, work: Path) -> list[str | Path]:
    filter_file = work / "filter"
    with filter_file.open("wb") as file:
        write_filter(file)
    env = {name: value for name, value in environment(_ENVIRONMENT).items() if name not in _BUILDERS_OWN}
    behind = command(argv, shared, chosen=_ids(), filter_file=filter_file, env=env)
    user = _user_namespace()
    return ["unshare", *user, *behind] if user else behind


def _ids() -> tuple[int, int]:
    if os.geteuid() == 0:
        return ids(*(Path(f"/proc/self/{name}").read_text() for name in ("uid_map", "gid_map")))
    lines = (subordinate_ids(Path(file)) for file in ("/etc/subuid", "/etc/subgid"))
    # unshare(1) of util-linux 2.38 takes one off, for our own id.
    return ids(*(f"0 0 1\n1 1 {int(line.rpartition(':')[2]) - 1}" for line in lines))


def _python(module: str) -> list[Path]:
    """Our packages, and Python's own files where they are not in /usr: the venv, and the installation that it is of."""
    packages = [_PACKAGES / name for name in {"builder", module.partition(".")[0]}]
    return packages + [path for path in map(Path, (sys.prefix, sys.base_prefix)) if not path.is_relative_to("/usr")]


def _readable(paths: Iterable[Path], work: Path) -> dict[Path, Path]:
    """By path, the file to bind there: the file itself, or a copy in `work` where others may not read it."""
    bound = {}
    for number, path in enumerate(sorted(paths)):
        bound[path] = path
        if not (_is_for_all(path) if path.is_dir() else is_for_all(path)):
            bound[path] = work / f"copy-{number}"
            run(["cp", "--recursive", "--reflink=auto", "--no-target-directory", path, bound[path]])
            run(["chmod", "--recursive", "go+rX", bound[path]])
    return bound


_is_for_all = functools.cache(is_for_all)


def refusal() -> str:
    """The words of unshare(1) where the kernel refuses the namespaces, "" where it does not.

    Asked without subordinate ids: util-linux 2.38 would leave a child behind that waits for ever. One namespace more
    than user.max_user_namespaces is ENOSPC (user_namespaces(7)), which would pass for a full disk.
    """
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return _tried("unshare", *user, *_NAMESPACES, "true")


def mapping_refusal() -> str:
    """The words of newuidmap(1) where it may not map our subordinate ids into a namespace that we can have, "" where it
    may, and for root. Setuid root, it needs CAP_SYS_ADMIN for that, which is not there in a container.

    Raises MissingToolError when there are no subordinate ids.
    """
    return "" if os.geteuid() == 0 else _tried("unshare", *_user_namespace(), "true")


@functools.cache
def boundary_refusal() -> str:
    """The words of the tool that fails where the kernel refuses the boundary, "" where it does not. It takes a tenth of
    a second, so it is tried once.

    Raises MissingToolError when bubblewrap or libseccomp's module for Python is missing, or there are too few ids.
    """
    if which("bwrap") is None:
        raise MissingToolError("bwrap is not installed", hint="make setup, or apt-get install bubblewrap")
    with TemporaryDirectory() as folder:
        return _tried(*_behind(["true"], Shared(reads={}), Path(folder)))


def _tried(*words: str | Path) -> str:
    result = run(words, check=False)
    said = result.stderr.decode(errors="replace").strip().splitlines()
    return "" if result.returncode == 0 else (said or ["refused"])[0]


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
