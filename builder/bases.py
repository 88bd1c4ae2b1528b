"""A base as layers: bootstrapped from packages, with the packages of a role on top."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import apt
from builder.bake import ACCEL_PACKAGES, DPKG_STATUS, Recipe, bake, make_accel, needs_accel, text_files
from builder.bake.binfmt import host_architecture
from builder.images import Importer, named
from builder.model.edits import FILE_MODE
from builder.model.lock import canonical
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.model.settings import Base
from builder.model.sources import AptSource, CloudImageSource, ImageSource, InstallerSource, PackagesSource
from builder.published import named_guest, take_whole
from builder.resolve import Resolver
from builder.sources import Cache
from builder.store import Store, require_whole

_TARGET_KEYRING = "/usr/share/keyrings/debian-archive-keyring.pgp"


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """`epoch` in seconds; `sources` are the archives of more packages, `host_programs` those of the build host's
    programs of the same suite, `keyrings` files for keyrings that are no paths on this host."""

    folder: Path
    epoch: int
    sources: tuple[AptSource, ...]
    host_programs: tuple[AptSource, ...]
    keyrings: Mapping[str, Path]


class Bakery:
    """What every bake of a build needs; the layers that it returns are directories of the store."""

    def __init__(self, resolver: Resolver, cache: Cache, store: Store, progress: Progress) -> None:
        self._resolver, self._cache, self._store, self._progress = resolver, cache, store, progress

    def base(self, plan: Plan) -> BaseLayer:
        """The system that a plan's packages go onto."""
        base, name = plan.base, plan.settings.base
        if isinstance(base.source, ImageSource):
            importer = Importer(self._cache, self._store, self._progress, self._resolver.offline)
            source = base.source
            image = self._resolver.published(named(name, source), lambda: importer.take(name, source))
            read = importer.read(name, base, image)
            self._resolver.keep_image(name, image)
            return BaseLayer(read.folder, read.epoch, read.sources, source.host_programs, read.keyrings)
        recipe = Recipe(architecture=base.architecture, boot_mount=base.boot.mount, files=text_files(plan.base_edits))
        layer = self.bootstrap(name, base.suite, base.source, recipe)
        epoch = self._resolver.used[system_name(name, base.architecture)].epoch
        return BaseLayer(layer, epoch, base.source.apt, base.source.apt, {})

    def bootstrap(self, name: str, suite: str, source: PackagesSource, wanted: Recipe) -> Path:
        """A whole system from an empty tree. Its apt gets the sources that it was made from."""
        resolution = self._resolver.resolve(
            system_name(name, wanted.architecture),
            sources=source.apt,
            architecture=wanted.architecture,
            packages=source.packages,
            bootstrap=True,
        )
        text = apt.sources_text(source.apt, keyring=_TARGET_KEYRING)
        sources = {"/etc/apt/sources.list.d/debian.sources": (text, FILE_MODE)}
        recipe = Recipe(
            architecture=wanted.architecture,
            boot_mount=wanted.boot_mount,
            files={**sources, **wanted.files},
            commands=wanted.commands,
        )
        accel = self._accel(suite, source.apt, wanted.architecture)
        return bake(
            resolution,
            recipe,
            lower=None,
            accel=accel,
            cache=self._cache,
            store=self._store,
            progress=self._progress,
            label=name,
        )

    def published_guest(self, name: str, source: InstallerSource | CloudImageSource) -> Path:
        """A guest's ISO or cloud image, in the cache and locked."""
        wanted = named_guest(name, source)
        image = self._resolver.published(
            wanted, lambda: take_whole(wanted, self._cache, self._progress, offline=self._resolver.offline)
        )
        self._resolver.keep_image(wanted.name, image)
        return self._cache.path(image.sha256)

    def add_packages(self, name: str, base: Base, lower: BaseLayer, packages: Sequence[str]) -> Path | None:
        """The layer of a role's packages on a base; None when the role asks for none."""
        if not packages:
            return None
        require_whole(lower.folder, DPKG_STATUS)
        resolution = self._resolver.resolve(
            packages_name(name, base, packages),
            sources=lower.sources,
            architecture=base.architecture,
            packages=packages,
            status=(lower.folder / DPKG_STATUS).read_bytes(),
            bootstrap=False,
            keyrings=lower.keyrings,
        )
        return bake(
            resolution,
            Recipe(architecture=base.architecture, boot_mount=base.boot.mount),
            lower=lower.folder,
            accel=self._accel(base.suite, lower.host_programs, base.architecture),
            cache=self._cache,
            store=self._store,
            progress=self._progress,
            label=f"{name} packages",
        )

    def _accel(self, suite: str, sources: Sequence[AptSource], architecture: str) -> Path | None:
        if not needs_accel(architecture):
            return None
        resolution = self._resolver.resolve(
            f"host programs {suite} {host_architecture()}",
            sources=sources,
            architecture=host_architecture(),
            packages=ACCEL_PACKAGES,
            bootstrap=False,
        )
        return make_accel(resolution, self._cache, self._store)


def system_name(name: str, architecture: str) -> str:
    """What a bootstrapped system, a base or `guest GUEST`, is called in the lock."""
    return f"{name} {architecture}"


def packages_name(base_name: str, base: Base, packages: Sequence[str]) -> str:
    """What a role's packages are called in the lock."""
    chosen = hashlib.sha256(canonical(sorted(packages)).encode()).hexdigest()[:12]
    return f"{base_name} {base.architecture} packages {chosen}"
