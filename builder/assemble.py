"""The objects that all steps of a build share: options, downloads, the lock, secrets, and threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from builder.base.layers import Layers
from builder.errors import BuildError, DamagedError
from builder.fetch import Cache
from builder.host.run import kill_all, stopping
from builder.image.forms import Compression
from builder.lock.lock_file import LOCK_FILE
from builder.lock.resolve import Resolver
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.project import Project
from builder.secrets.resolve import Secrets
from builder.store.products import Store
from builder.store.upkeep import remove_damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of a build.

    `role` and `base` win over the profiles, `preset` wins over the role. `jobs` is the number of parallel jobs. With
    `locked`, only files in pimu.lock are used. With `without_secrets`, the image lacks its secrets, and `flash` writes
    them. `bake_twice` makes each layer of packages twice and compares the results. `ask` asks the user for a secret.
    `trust_packages` continues without a boundary if the kernel refuses one.
    """

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
    bake_twice: bool = False
    ask: Callable[[str], str] | None = None
    trust_packages: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A built image. `changed` is False when the output folder already had the same bytes."""

    plan: Plan
    image: Path
    manifest: Path
    changed: bool
    seconds: float


_Made = TypeVar("_Made")


def healing(make: Callable[[], _Made], cache: Path, progress: Progress) -> _Made:
    """The result of `make`. After a DamagedError the damaged cached file is removed and `make` is called again, so that
    the file is fetched or made again.

    Raises BuildError when the same file is damaged twice.
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


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The objects that the steps of one build share."""

    options: BuildOptions
    secrets: Secrets
    progress: Progress
    cache: Cache
    store: Store
    resolver: Resolver
    layers: Layers

    @classmethod
    def of(cls, project: Project, options: BuildOptions, secrets: Secrets, progress: Progress) -> BuildContext:
        """Raises ConfigurationError for a pimu.lock that cannot be read."""
        cache, store = Cache(options.cache), Store(options.cache)
        path = project.root / LOCK_FILE
        resolver = Resolver(path, cache, store, progress, offline=options.offline, locked=options.locked)
        layers = Layers(resolver, cache, store, progress, twice=options.bake_twice, trusted=options.trust_packages)
        return cls(options, secrets, progress, cache, store, resolver, layers)


@contextmanager
def side_by_side(jobs: int) -> Iterator[Callable[..., Future[Any]]]:
    """Yield a function that runs work in one of `jobs` threads. The first failure, or Ctrl-C, ends all threads and the
    programs that they run."""
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
            # A thread with a killed tool may start another tool before it notices.
            while not all(future.done() for future in pending):
                kill_all()
                time.sleep(0.1)
            stopping.clear()
            raise
