"""Versions of the programs that the build host runs for us."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from builder.errors import MissingToolError
from builder.host.run import run, which

SHAPING = {
    "mke2fs": "-V",
    "mkfs.fat": "--help",
    "mcopy": "--version",
    "sfdisk": "--version",
    "dpkg": "--version",
    "tar": "--version",
    "qemu-img": "--version",
}
"""The programs of the build host whose output gets into an image, each with the option that prints its version."""

SIBLINGS = {
    **dict.fromkeys(("debugfs", "e2fsck", "e2image", "resize2fs"), "mke2fs"),
    **dict.fromkeys(("mdel", "mdir", "mmd", "mshowfat", "mtype"), "mcopy"),
    "dpkg-deb": "dpkg",
}
"""Programs that come from one source package with one of SHAPING, and so have its version."""

SHAPELESS = {
    **dict.fromkeys(("chmod", "cp", "fallocate", "rm"), "the content of files stays as it is"),
    **dict.fromkeys(("env", "ip", "mount", "nsenter", "prlimit", "setpriv", "umount", "unshare"), "a place to work in"),
    **dict.fromkeys(("gzip", "xz", "zstd"), "the files that they unpack have digests"),
    **dict.fromkeys(("gpg", "gpgv"), "they read keys and signatures"),
    "cpio": "the installer reads the archive that it packs, and nobody keeps it",
    "xorriso": "it says where the files of an ISO are",
    "qemu-system-aarch64": "a machine to work in",
    "qemu-system-x86_64": "a machine to work in",
}
"""Programs whose version shapes no byte of a product, each with the reason."""


def shaping_tools() -> dict[str, str]:
    """Versions of the installed programs of SHAPING: a role without a guest needs no qemu-img."""
    return versions([program for program in SHAPING if which(program)])


def versions(programs: Collection[str]) -> dict[str, str]:
    """The version of each program; "" where it shapes nothing. They are asked side by side: one more node waits for
    little else.

    Raises MissingToolError for a program of SHAPING that is not installed, KeyError for one that no table here has.
    """
    asked = {program: SIBLINGS.get(program, program) for program in programs if program not in SHAPELESS}
    distinct = {main: SHAPING[main] for main in asked.values()}
    with ThreadPoolExecutor(len(distinct) or 1) as pool:
        found = dict(zip(distinct, pool.map(version, distinct, distinct.values()), strict=True))
    return {program: found[asked[program]] if program in asked else "" for program in programs}


@functools.cache
def version(program: str, option: str = "--version") -> str:
    """First version number that a program prints. Raises MissingToolError."""
    if which(program) is None:
        raise MissingToolError(f"{program} is not installed", hint="`pimu-build doctor` says how to install it")
    result = run([program, option], check=False)
    found = re.search(r"\d+(\.\d+)+[\w.+~-]*", (result.stdout + result.stderr).decode(errors="replace"))
    return found[0].rstrip(".") if found else "unknown"
