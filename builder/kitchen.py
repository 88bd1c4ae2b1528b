"""One build: what is fetched, made and stamped for some plans, in which order, and what of it side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from builder import airgap, doctor, guests, publish, recipe
from builder.bases import Bakery, BaseLayer, packages_name, system_name
from builder.cache import remove_damaged
from builder.disk.golden import Golden, make_golden
from builder.disk.stamp import Stamp
from builder.errors import BuildError, DamagedError
from builder.forms.frames import Frames, golden_frames
from builder.forms.image_file import Compression
from builder.lock_file import LOCK_FILE
from builder.model.lock import LockedFile, LockedImage, Resolution
from builder.model.manifest import Manifest
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.model.sources import PackagesSource, PublishedFile
from builder.project import Project
from builder.resolve import Resolver
from builder.run import kill_all, stopping
from builder.secrets import Secrets, private_folder
from builder.sources import Cache
from builder.store import Store, require_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """`role` and `base` win over what the profiles say, `preset` over the role; `jobs` is how much may be made at the
    same time; `locked` takes nothing that pimu.lock does not name; `without_secrets` leaves them to those who flash;
    `ask` asks a person for a secret."""

    output: Path
    cache: Path
    role: str | None = None
    base: str | None = None
    preset: str | None = None
    jobs: int = 2
    offline: bool = False
    locked: bool = False
    sha256: bool = False
    compression: Compression | None = None
    without_secrets: bool = False
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """`changed` is False when the image was there already, byte by byte."""

    plan: Plan
    image: Path
    manifest: Path
    changed: bool
    seconds: float


_Made = TypeVar("_Made")


def healing(make: Callable[[], _Made], cache: Path, progress: Progress) -> _Made:
    """`make` again without what the disk has damaged in the cache, so that it is fetched or made anew.

    Raises BuildError when the same thing is damaged again.
    """
    healed: set[str] = set()
    while True:
        try:
            return make()
        except DamagedError as damaged:
            if damaged.path in healed:
                advice = "look into the kernel's log, and set PIMU_CACHE to another disk"
                raise BuildError("is damaged again: disk or memory fail", where=damaged.path, hint=advice) from damaged
            healed.add(damaged.path)
            progress.step("cache", f"{damaged.path} is damaged: away with it, and anew")
            remove_damaged(cache, Path(damaged.path))


class Kitchen:
    """One build: its cache, its lock, its threads."""

    def __init__(self, project: Project, options: BuildOptions, secrets: Secrets, progress: Progress) -> None:
        self._options, self._secrets, self._progress = options, secrets, progress
        self._store = Store(options.cache)
        self._cache = cache = Cache(options.cache)
        self._resolver = Resolver(
            project.root / LOCK_FILE, cache, self._store, progress, offline=options.offline, locked=options.locked
        )
        self._bakery = Bakery(self._resolver, cache, self._store, progress)

    def images(self, plans: Sequence[Plan]) -> list[Built]:
        goldens = self._with_tools(plans)
        frames = self._frames(golden for golden, _ in goldens.values())
        with _pool(self._options.jobs) as submit:
            pending = [
                submit(self._node_image, plan, golden, blobs, frames.get(golden.folder))
                for plan, (golden, blobs) in ((plan, goldens[plan.settings.name]) for plan in plans)
            ]
            return [future.result() for future in pending]

    def stamped(self, plan: Plan) -> tuple[Golden, Stamp, Manifest]:
        golden, blobs = self._with_tools([plan])[plan.settings.name]
        require_whole(golden.folder, golden.image.name)
        with private_folder() as work:
            stamp, manifest = publish.stamp_node(
                plan, golden, blobs, self._used(plan), secrets=self._secrets, work=work
            )
        return golden, stamp, manifest

    def _with_tools(self, plans: Sequence[Plan]) -> dict[str, tuple[Golden, dict[str, Path]]]:
        """By node, with tools that pimu.lock names or will name."""
        tools = recipe.shaping_tools()
        self._resolver.require_tools(tools)
        goldens = self._goldens(plans)
        self._resolver.keep_tools(tools)
        return goldens

    def _frames(self, goldens: Iterable[Golden]) -> dict[Path, Frames]:
        """Those of each golden image, one after the other: each takes all processors. None without compression."""
        compression = self._options.compression
        if compression is None:
            return {}
        distinct = {golden.folder: golden for golden in goldens}
        return {
            folder: golden_frames(golden, compression, self._store, self._progress)
            for folder, golden in distinct.items()
        }

    def _goldens(self, plans: Sequence[Plan]) -> dict[str, tuple[Golden, dict[str, Path]]]:
        """Golden image and blobs by node; guests and bases are made side by side, each once."""
        disks = {plan.guest_disk.name: plan for plan in plans if plan.guest_disk is not None}
        bases = {plan.settings.base: plan for plan in plans}
        with _pool(self._options.jobs) as submit:
            pending_disks = {name: submit(self._guest_disk, plan) for name, plan in disks.items()}
            pending_bases = {name: submit(self._bakery.base, plan) for name, plan in bases.items()}
            doctor.require_mke2fs()
            made_disks = {name: future.result() for name, future in pending_disks.items()}
            made_bases = {name: future.result() for name, future in pending_bases.items()}
        goldens = {}
        for plan in plans:
            base = made_bases[plan.settings.base]
            blobs = dict(made_disks[plan.guest_disk.name]) if plan.guest_disk is not None else {}
            blobs |= airgap.make_blobs(
                plan,
                self._resolver,
                cache=self._cache,
                store=self._store,
                epoch=base.epoch,
                progress=self._progress,
            )
            goldens[plan.settings.name] = self._golden(plan, base, blobs), blobs
        return goldens

    def _guest_disk(self, plan: Plan) -> dict[str, Path]:
        disk, guest = plan.guest_disk, plan.guest
        assert disk is not None
        assert guest is not None
        source = guest.source
        if not isinstance(source, PackagesSource):
            file = self._bakery.published_guest(disk.name, source)
            workshop = guests.Workshop(self._store, self._progress, offline=self._options.offline)
            return workshop.make_disk(disk, guest, file, require_whole=lambda: self._cache.require_whole(file.name))
        layer = self._bakery.bootstrap(
            f"guest {disk.name}", guest.release, source, guests.recipe_of(guest.architecture, disk)
        )
        epoch = self._resolver.used[system_name(f"guest {disk.name}", guest.architecture)].epoch
        return guests.make_disk(disk, layer, epoch=epoch, store=self._store, progress=self._progress)

    def _golden(self, plan: Plan, base: BaseLayer, blobs: Mapping[str, Path]) -> Golden:
        added = self._bakery.add_packages(plan.settings.base, plan.base, base, plan.packages)
        layers = [base.folder] if added is None else [base.folder, added]
        return make_golden(plan, layers, blobs, epoch=base.epoch, store=self._store, progress=self._progress)

    def _used(self, plan: Plan) -> dict[str, Resolution | LockedImage | LockedFile]:
        """What is in this node's image, whatever else was built with it."""
        systems: dict[str, tuple[PackagesSource | PublishedFile, str]] = {
            plan.settings.base: (plan.base.source, plan.base.architecture)
        }
        if plan.guest_disk is not None and plan.guest is not None:
            systems[f"guest {plan.guest_disk.name}"] = plan.guest.source, plan.guest.architecture
        used: dict[str, Resolution | LockedImage | LockedFile] = {}
        for name, (source, architecture) in systems.items():
            if isinstance(source, PackagesSource):
                locked = system_name(name, architecture)
                used[locked] = self._resolver.used[locked]
            else:
                used[name] = self._resolver.used_images[name]
        if plan.packages:
            locked = packages_name(plan.settings.base, plan.base, plan.packages)
            used[locked] = self._resolver.used[locked]
        return used | {name: self._resolver.used_files[name] for name in airgap.lock_names(plan)}

    def _node_image(self, plan: Plan, golden: Golden, blobs: dict[str, Path], frames: Frames | None) -> Built:
        begun = time.monotonic()
        self._progress.step("stamp", plan.settings.name)
        image, manifest, changed = publish.node_image(
            plan,
            golden,
            blobs,
            self._used(plan),
            output=self._options.output,
            secrets=self._secrets,
            sha256=self._options.sha256,
            frames=frames,
        )
        return Built(plan, image, manifest, changed, time.monotonic() - begun)


@contextmanager
def _pool(jobs: int) -> Iterator[Callable[..., Future[Any]]]:
    """Threads for work that waits for other processes. The first failure, or Ctrl-C, ends all of them."""
    pending: list[Future[Any]] = []

    def submit(*work: Any) -> Future[Any]:
        pending.append(pool.submit(*work))
        return pending[-1]

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        try:
            yield submit
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # A thread whose tool was killed may start one more before it notices.
            while not all(future.done() for future in pending):
                kill_all()
                time.sleep(0.1)
            stopping.clear()
            raise
