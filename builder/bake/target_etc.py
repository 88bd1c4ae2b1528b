"""A small /etc for the host's dpkg while it unpacks into a tree. It has the tree's users and groups, not the host's.

dpkg before 1.22 looks up names in the tree's statoverrides (dpkg-statoverride(1)) and in a package's tar
(lib/dpkg/tarfn.c) among the users of the host, even with --root. On a host without the group `crontab` the bake would
fail, and on a host with another number for `crontab` the file would get another group.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder import limits
from builder.host.files import read_inside
from builder.host.run import run

TOOLS = ("mount", "umount")

_NSSWITCH = "passwd: files\ngroup: files\n"
_NSCD = Path("/run/nscd")
_FILTERS = ("path-exclude", "path-include")


@contextmanager
def target_etc(root: Path, work: Path) -> Iterator[None]:
    """Mount a small /etc over the one of this mount namespace. `root` is the tree, `work` a folder for the new /etc.

    passwd and group are links, because a script may replace the tree's files while dpkg runs. In an empty tree they do
    not exist: names are unknown then, and dpkg takes the numbers in the package. The host's dpkg.cfg is absent.
    """
    etc, nothing = work / "etc", work / "nothing"
    for folder in (etc, nothing):
        folder.mkdir()
    (etc / "nsswitch.conf").write_text(_NSSWITCH)
    for name in ("passwd", "group"):
        (etc / name).symlink_to(root / "etc" / name)
    if Path("/etc/ld.so.cache").exists():
        shutil.copy("/etc/ld.so.cache", etc)
    covered = [(etc, Path("/etc")), *([(nothing, _NSCD)] if _NSCD.is_dir() else [])]  # a cache of the host's names
    mounted: list[Path] = []
    try:
        for source, target in covered:
            run(["mount", "--bind", source, target])
            mounted.append(target)
        yield
    finally:
        for target in reversed(mounted):
            run(["umount", target])


def path_filters(lower: Path) -> list[str]:
    """The path-exclude and path-include options in a tree's dpkg.cfg(5), in the order in which dpkg reads them.

    All other options are ignored: some name programs and files, and dpkg would use the host's. Raises
    ConfigurationError for a file that is a link.
    """
    folder = lower / "etc/dpkg/dpkg.cfg.d"
    names = ["etc/dpkg/dpkg.cfg"] if (lower / "etc/dpkg/dpkg.cfg").exists() else []
    names += sorted(f"etc/dpkg/dpkg.cfg.d/{path.name}" for path in folder.iterdir()) if folder.is_dir() else []
    options = []
    for name in names:
        for line in read_inside(lower, name, limits.PROFILE).decode(errors="replace").splitlines():
            option, _, value = line.strip().replace("=", " ", 1).partition(" ")
            if option.removeprefix("--") in _FILTERS:
                options.append(f"--{option.removeprefix('--')}={value.strip().strip(chr(34))}")
    return options
