"""Bake Debian packages into layers, and the tree of host programs that makes it fast."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder import recipe, sandbox
from builder.bake.binfmt import host_architecture
from builder.bake.spec import BOOT_TAR, ROOT_TAR, BakeSpec
from builder.model.edits import Edit, WriteFile
from builder.model.lock import Resolution
from builder.model.progress import Progress
from builder.run import run
from builder.sources import Cache
from builder.store import Store
from builder.tree import Tree

# Programs whose answer does not depend on the machine they run on. Left out on purpose: dpkg and its query tools,
# ldconfig, apt, systemd's tools, and all that initramfs hooks copy (kmod with libkmod, busybox, blkid).
ACCEL_PACKAGES = (
    *("bash", "coreutils", "cpio", "dash", "debconf", "debianutils", "diffutils", "findutils", "grep", "gzip", "mawk"),
    *("perl-base", "python3", "sed", "tar", "xz-utils", "zstd"),
)
_ANSWERS_FOR_ITS_MACHINE = {"arch", "uname", "nproc", "ldconfig", "ld.so", "dpkg", "dpkg-query", "dpkg-deb"}


DPKG_STATUS = "dpkg-status"
"""Beside the tars: what is installed, for apt to resolve more packages against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What goes into a layer beside its packages; see BakeSpec."""

    architecture: str
    boot_mount: str | None = None
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    commands: Sequence[Sequence[str]] = ()


def text_files(edits: Iterable[Edit]) -> dict[str, tuple[str, int]]:
    """Text and mode of files that must be there before packages are configured, because an initrd is made of them."""
    return {edit.path: (edit.content.decode(), edit.mode) for edit in edits if isinstance(edit, WriteFile)}


def needs_accel(architecture: str) -> bool:
    return architecture != host_architecture()


def make_accel(resolution: Resolution, cache: Cache, store: Store) -> Path:
    """The tree of host programs (only usr/bin, usr/sbin, usr/lib/<triplet>, lib64 and Python's lib-dynload)."""

    def extract(fresh: Path) -> None:
        whole = fresh / "whole"
        whole.mkdir()
        for deb in resolution.debs:
            run(["dpkg-deb", "-x", cache.path(deb.sha256), whole])
        tree = fresh / "tree"
        for folder in sorted(whole.glob("usr/*bin")) + sorted(whole.glob("usr/lib/*-linux-gnu")):
            shutil.copytree(folder, tree / folder.relative_to(whole), symlinks=True)
        for folder in (*whole.glob("usr/lib64"), *whole.glob("usr/lib/python3.*/lib-dynload")):
            shutil.copytree(folder, tree / folder.relative_to(whole), symlinks=True)
        (tree / "lib64").symlink_to("usr/lib64")
        for program in (*tree.glob("usr/bin/*"), *tree.glob("usr/sbin/*")):
            if program.name in _ANSWERS_FOR_ITS_MACHINE or program.name.startswith(("apt", "deb-systemd", "update-")):
                program.unlink()
        shutil.rmtree(whole)

    inputs = {"recipe": recipe.digest("bake"), "debs": [deb.sha256 for deb in resolution.debs]}
    return store.make("accel", inputs, extract) / "tree"


def bake(
    resolution: Resolution,
    wanted: Recipe,
    *,
    lower: Path | None,
    accel: Path | None,
    cache: Cache,
    store: Store,
    progress: Progress,
    label: str,
) -> Path:
    """The directory with the layer (root.tar, and boot.tar where there is a boot volume) of a resolution on `lower`."""
    inputs = {
        "recipe": recipe.digest("bake"),
        "tools": {"dpkg": recipe.version("dpkg")},
        "architecture": wanted.architecture,
        "epoch": resolution.epoch,
        "debs": [deb.sha256 for deb in resolution.debs],
        "essential": list(resolution.essential),
        "lower": lower.name if lower else None,
        "accel": accel.parent.name if accel else None,
        "boot_mount": wanted.boot_mount,
        "files": dict(wanted.files),
        "commands": [list(command) for command in wanted.commands],
    }

    def make(fresh: Path) -> None:
        progress.step("bake", f"{label}: {len(resolution.debs)} packages")
        with store.workspace() as work:
            spec = BakeSpec(
                architecture=wanted.architecture,
                epoch=resolution.epoch,
                debs=tuple(str(cache.path(deb.sha256)) for deb in resolution.debs),
                essential=tuple(
                    str(cache.path(deb.sha256)) for deb in resolution.debs if deb.name in resolution.essential
                ),
                lower=str(lower) if lower else None,
                accel=str(accel) if accel else None,
                boot_mount=wanted.boot_mount,
                files=dict(wanted.files),
                commands=tuple(tuple(command) for command in wanted.commands),
                out=str(fresh),
            )
            spec.save(work / "spec.json")
            sandbox.run_inside(
                "builder.bake.inside",
                work / "spec.json",
                on_line=lambda line: progress.step("bake", f"{label}: {line}"),
            )
        status = Tree.of_layers([fresh / ROOT_TAR], resolution.epoch).get("var/lib/dpkg/status")
        (fresh / DPKG_STATUS).write_bytes(status.read() if status else b"")

    return store.make("layers", inputs, make)


__all__ = [
    "ACCEL_PACKAGES",
    "BOOT_TAR",
    "DPKG_STATUS",
    "ROOT_TAR",
    "Recipe",
    "bake",
    "make_accel",
    "needs_accel",
    "text_files",
]
