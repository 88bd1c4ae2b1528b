"""A base as layers: bootstrapped from packages or imported from an image, with the packages of a role on top."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.bake import ACCEL_PACKAGES, LayerInputs, bake, make_accel, needs_accel, text_files
from builder.bake.binfmt import host_architecture
from builder.base.imported import Importer
from builder.fetch import Cache
from builder.fetch.upstream import named_base
from builder.lock import apt
from builder.lock.resolve import Resolver
from builder.model.edits import FILE_MODE
from builder.model.layer import DPKG_STATUS
from builder.model.lock import canonical
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.model.sources import AptSource, ImageSource, PackagesSource
from builder.store.products import Product, Store, require_whole

_TARGET_KEYRING = "/usr/share/keyrings/debian-archive-keyring.pgp"


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """`epoch` in seconds; `sources` are the archives of more packages, `host_programs` those of the build host's
    programs of the same suite, `keyrings` files for keyrings that are no paths on this host. `files` (text and mode, by
    absolute path) are missing in the base and must be there before more packages are configured."""

    layer: Product
    epoch: int
    sources: tuple[AptSource, ...]
    host_programs: tuple[AptSource, ...]
    keyrings: Mapping[str, Path] = field(default_factory=dict)
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layers:
    """Makes layers, each once for its inputs. With `twice` each is baked once more and compared; `trusted` bakes
    without a boundary where the kernel refuses one."""

    resolver: Resolver
    cache: Cache
    store: Store
    progress: Progress
    twice: bool = False
    trusted: bool = False

    def base(self, plan: Plan) -> BaseLayer:
        """The system that a plan's packages go onto."""
        base, name = plan.base, plan.settings.base
        if isinstance(base.source, ImageSource):
            importer = Importer(self.cache, self.store, self.progress, self.resolver.offline)
            source = base.source
            image = self.resolver.published(named_base(name, source), lambda: importer.take(name, source))
            read = importer.read(name, base, image)
            self.resolver.keep_image(name, image)
            files = text_files(plan.base_edits)
            return BaseLayer(read.layer, read.epoch, read.sources, source.host_programs, read.keyrings, files)
        wanted = LayerInputs(
            architecture=base.architecture,
            boot_mount=base.boot.mount,
            files=text_files(plan.base_edits),
            identities=replace(plan.identities, chosen={}),
        )
        return self.bootstrap(name, base.suite, base.source, wanted)

    def bootstrap(self, name: str, suite: str, source: PackagesSource, wanted: LayerInputs) -> BaseLayer:
        """A whole system from an empty tree. Its apt gets the sources that it was made from."""
        lock_name = f"{name} {wanted.architecture}"
        resolution = self.resolver.resolve(
            lock_name,
            sources=source.apt,
            architecture=wanted.architecture,
            packages=source.packages,
            bootstrap=True,
        )
        text = apt.sources_text(source.apt, keyring=_TARGET_KEYRING)
        sources = {"/etc/apt/sources.list.d/debian.sources": (text, FILE_MODE)}
        layer = bake(
            resolution,
            replace(wanted, files={**sources, **wanted.files}),
            lower=None,
            accel=self._accel(suite, source.apt, wanted.architecture),
            cache=self.cache,
            store=self.store,
            progress=self.progress,
            label=name,
            lock_name=lock_name,
            twice=self.twice,
            trusted=self.trusted,
        )
        return BaseLayer(layer, resolution.epoch, source.apt, source.apt)

    def add_packages(self, plan: Plan, lower: BaseLayer) -> Product | None:
        """The layer of a plan's packages on its base; None when it asks for none."""
        if not plan.packages:
            return None
        base, name, status = plan.base, plan.settings.base, lower.layer.folder / DPKG_STATUS
        require_whole(lower.layer.folder, DPKG_STATUS)
        chosen = hashlib.sha256(canonical(sorted(plan.packages)).encode()).hexdigest()[:12]
        lock_name = f"{name} {base.architecture} packages {chosen}"
        resolution = self.resolver.resolve(
            lock_name,
            sources=lower.sources,
            architecture=base.architecture,
            packages=plan.packages,
            status=status.read_bytes(),
            bootstrap=False,
            keyrings=lower.keyrings,
        )
        wanted = LayerInputs(
            architecture=base.architecture,
            boot_mount=base.boot.mount,
            files=lower.files,
            identities=plan.identities,
        )
        return bake(
            resolution,
            wanted,
            lower=lower.layer,
            accel=self._accel(base.suite, lower.host_programs, base.architecture),
            cache=self.cache,
            store=self.store,
            progress=self.progress,
            label=f"{name} packages",
            name=f"{name}, packages of {plan.settings.role}",
            lock_name=lock_name,
            twice=self.twice,
            trusted=self.trusted,
        )

    def _accel(self, suite: str, sources: Sequence[AptSource], architecture: str) -> Product | None:
        if not needs_accel(architecture):
            return None
        name = f"host programs {suite} {host_architecture()}"
        resolution = self.resolver.resolve(
            name, sources=sources, architecture=host_architecture(), packages=ACCEL_PACKAGES, bootstrap=False
        )
        return make_accel(resolution, self.cache, self.store, self.progress, name=name, trusted=self.trusted)
