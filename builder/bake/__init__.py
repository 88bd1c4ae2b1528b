"""Bake Debian packages into layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from builder.bake.accel import ACCEL_PACKAGES, make_accel
from builder.bake.binfmt import enable_for_machine, host_architecture
from builder.bake.spec import BakeSpec
from builder.bake.twice import require_same
from builder.fetch import Cache
from builder.fs.tree import Tree
from builder.host import sandbox
from builder.model.edits import Edit, WriteFile
from builder.model.identities import Identities
from builder.model.layer import BOOT_TAR, DPKG_STATUS, ROOT_TAR
from builder.model.lock import Resolution
from builder.model.progress import Progress
from builder.store.products import Product, Store, require_whole
from builder.store.step import register


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInputs:
    """The inputs of a layer other than its packages; see BakeSpec."""

    architecture: str
    boot_mount: str | None = None
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    commands: Sequence[Sequence[str]] = ()
    identities: Identities = field(default_factory=Identities)


def text_files(edits: Iterable[Edit]) -> dict[str, tuple[str, int]]:
    """Text and mode, by path, of the text files that edits write on the root volume. They must exist before packages
    are configured, because they shape the initrd."""
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
    wanted: LayerInputs,
    *,
    lower: Product | None,
    accel: Product | None,
    cache: Cache,
    store: Store,
    progress: Progress,
    label: str,
    name: str = "",
    lock_name: str = "",
    twice: bool = False,
    trusted: bool = False,
) -> Product:
    """The layer of a resolution on top of `lower`: root.tar, and boot.tar if there is a boot volume. Its name is
    `label` in progress messages, `name` (default: `label`) in the cache, and `lock_name` in pimu.lock.

    With `twice` the layer is made twice; different results raise BuildError. With `trusted`, bake without a boundary if
    the kernel refuses one. Raises the errors of `sandbox.run_inside`.
    """
    below, programs = (made.folder if made else None for made in (lower, accel))

    def fill(fresh: Path) -> None:
        progress.step("bake", f"{label}: {len(resolution.debs)} packages")
        cache.require_whole(*(deb.sha256 for deb in resolution.debs))
        for folder in (below, programs):
            if folder is not None:
                require_whole(folder)
        debs = tuple((deb.name, cache.path(deb.sha256)) for deb in resolution.debs)
        given = _Given(resolution, debs, wanted, below, programs)
        with store.workspace() as work:
            _bake(given, work, fresh, lambda line: progress.step("bake", f"{label}: {line}"), trusted=trusted)

    step = store.step(_MAKER, name or label, _inputs(resolution, wanted, lower, accel))
    parents = [lower] if lower else []
    made = store.make(step, fill, parents=parents, locked={lock_name: resolution} if lock_name else {})
    if twice:
        with store.workspace() as again:
            fill(again)
            require_same(made.folder, again, resolution.epoch, label)
    return made


def _inputs(
    resolution: Resolution, wanted: LayerInputs, lower: Product | None, accel: Product | None
) -> dict[str, object]:
    """All facts that determine a layer's bytes."""
    return {
        "architecture": wanted.architecture,
        "epoch": resolution.epoch,
        "debs": [deb.sha256 for deb in resolution.debs],
        "essential": list(resolution.essential),
        "removed": list(resolution.removed),
        "lower": lower.key if lower else None,
        "accel": accel.key if accel else None,
        "boot_mount": wanted.boot_mount,
        "files": dict(wanted.files),
        "commands": [list(command) for command in wanted.commands],
        "identities": asdict(wanted.identities),
    }


def _bake(given: _Given, work: Path, fresh: Path, on_line: Callable[[str], None], *, trusted: bool) -> None:
    """Bake in the sandbox, and move the layer into `fresh`. `work` is an empty folder."""
    order, boot_mount = work / "spec.json", given.wanted.boot_mount
    given.spec(work).save(order)
    tars = [work / name for name in (ROOT_TAR, *([BOOT_TAR] if boot_mount else []))]
    enable_for_machine(given.wanted.architecture)
    sandbox.run_inside(
        "builder.bake.inside",
        *(order, work / sandbox.ROOM),
        work=work,
        reads=[order, *(deb for _, deb in given.debs), *_tars(given.lower), *_tars(given.accel)],
        writes=tars,
        trusted=trusted,
        on_line=on_line,
    )
    for tar in tars:
        sandbox.keep(tar, fresh)
    status = Tree.of_layers([fresh / ROOT_TAR], given.resolution.epoch).get("var/lib/dpkg/status")
    (fresh / DPKG_STATUS).write_bytes(status.read() if status else b"")


@dataclass(frozen=True, slots=True)
class _Given:
    """The inputs of a bake. `debs` are names and files of the packages, `lower` and `accel` are folders of products."""

    resolution: Resolution
    debs: tuple[tuple[str, Path], ...]
    wanted: LayerInputs
    lower: Path | None
    accel: Path | None

    def spec(self, out: Path) -> BakeSpec:
        wanted, essential = self.wanted, self.resolution.essential
        return BakeSpec(
            architecture=wanted.architecture,
            epoch=self.resolution.epoch,
            debs=tuple(str(deb) for _, deb in self.debs),
            essential=tuple(str(deb) for name, deb in self.debs if name in essential),
            removed=self.resolution.removed,
            lower=str(self.lower) if self.lower else None,
            accel=str(self.accel) if self.accel else None,
            boot_mount=wanted.boot_mount,
            files=dict(wanted.files),
            commands=tuple(tuple(command) for command in wanted.commands),
            identities=wanted.identities,
            out=str(out),
        )


def _tars(made: Path | None) -> list[Path]:
    return [] if made is None else sorted(made.glob("*.tar"))


_MAKER = register("layers", _bake)


__all__ = [
    "ACCEL_PACKAGES",
    "LayerInputs",
    "bake",
    "make_accel",
    "needs_accel",
    "text_files",
]
