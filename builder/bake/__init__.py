"""Bake Debian packages into layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder import recipe, sandbox
from builder.bake.accel import ACCEL_PACKAGES, make_accel
from builder.bake.binfmt import host_architecture
from builder.bake.spec import BOOT_TAR, ROOT_TAR, BakeSpec
from builder.model.edits import Edit, WriteFile
from builder.model.lock import Resolution
from builder.model.progress import Progress
from builder.sources import Cache
from builder.store import Store, require_whole
from builder.tree import Tree

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
    files = (edit for edit in edits if isinstance(edit, WriteFile) and edit.volume == "root")
    return {file.path: (file.content.decode(), file.mode) for file in files if _is_text(file.content)}


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def needs_accel(architecture: str) -> bool:
    return architecture != host_architecture()


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
        "recipe": recipe.digest("bake", "run.py", "sandbox.py"),
        "tools": recipe.versions(("dpkg", "--version"), ("tar", "--version")),
        "architecture": wanted.architecture,
        "epoch": resolution.epoch,
        "debs": [deb.sha256 for deb in resolution.debs],
        "essential": list(resolution.essential),
        "lower": lower.name if lower else None,
        "accel": accel.name if accel else None,
        "boot_mount": wanted.boot_mount,
        "files": dict(wanted.files),
        "commands": [list(command) for command in wanted.commands],
    }

    def make(fresh: Path) -> None:
        progress.step("bake", f"{label}: {len(resolution.debs)} packages")
        cache.require_whole(*(deb.sha256 for deb in resolution.debs))
        for made in (lower, accel):
            if made is not None:
                require_whole(made)
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
