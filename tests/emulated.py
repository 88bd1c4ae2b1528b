"""Packages baked both ways: by the builder, and as everybody does it, with the target's own dpkg in a chroot, by
emulation from the first byte to the last. `python -m tests.emulated SPEC` is the slow way inside the sandbox.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import cache, sandbox
from builder.bake import binfmt
from builder.bake.inside import STAGE, chroot, say
from builder.bake.mounts import machine, overlay
from builder.bake.pack import pack
from builder.bake.spec import BOOT_TAR, ROOT_TAR, BakeSpec
from builder.bases import Bakery
from builder.build import make_plans
from builder.model.lock import Resolution
from builder.model.plan import Plan
from builder.model.progress import Progress, Silent
from builder.project import Project
from builder.resolve import LOCK_FILE, Resolver
from builder.run import run
from builder.sources import Cache
from builder.store import Store

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Timed:
    """Directory of a layer; seconds for all of it, and for unpacking and configuring the packages alone: without the
    base's extraction, the initrd and the tar."""

    layer: Path
    seconds: float
    install_seconds: float


@dataclass(frozen=True)
class Bakes:
    """Two layers of the same packages on the same base."""

    fast: Timed
    slow: Timed
    count: int


class Stopwatch(Silent):
    """Reads the lines of progress that a bake writes at the beginning of each of its stages."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}

    def step(self, name: str, text: str) -> None:
        if match := re.search(r"([\d.]+) s  (\w+)", text):
            self.stages[match[2]] = float(match[1])

    def install_seconds(self) -> float:
        return self.stages.get("initrd", self.stages["pack"]) - self.stages["unpack"]


def bake_both(packages: Sequence[str], folder: Path) -> Bakes:
    """Bake packages (none: the worker's) onto the base of node-003, which comes from the user's cache. The lock and
    what is made stay in `folder`."""
    progress = Stopwatch()
    (plan,) = make_plans(Project(ROOT), ["node-003"], "worker", None)
    warm, cold = Store(cache.default_root()), Store(folder / "store")
    lock, downloads = folder / LOCK_FILE, Cache(warm.root)
    if (ROOT / LOCK_FILE).exists():
        shutil.copy(ROOT / LOCK_FILE, lock)
    resolver = Resolver(lock, downloads, warm, progress, offline=False)
    lower = Bakery(resolver, downloads, warm, progress).base(plan)
    cold.root.mkdir()
    (cold.root / "accel").symlink_to(warm.root / "accel")  # made once per suite, not per bake

    begun = time.monotonic()
    bakery = Bakery(resolver, downloads, cold, progress)
    fast = bakery.add_packages(plan.settings.base, plan.base, lower, packages or plan.packages)
    assert fast is not None
    quick = Timed(fast, time.monotonic() - begun, progress.install_seconds())
    (resolution,) = (resolution for name, resolution in resolver.used.items() if " packages " in name)

    progress.stages.clear()
    begun = time.monotonic()
    slow = _emulate(plan, resolution, lower, downloads, folder, progress)
    emulated = Timed(slow, time.monotonic() - begun, progress.install_seconds())
    return Bakes(quick, emulated, len(resolution.debs))


def _emulate(
    plan: Plan, resolution: Resolution, lower: Path, downloads: Cache, folder: Path, progress: Progress
) -> Path:
    work, out = folder / "emulated", folder / "slow"
    work.mkdir()
    out.mkdir()
    spec = BakeSpec(
        architecture=plan.base.architecture,
        epoch=resolution.epoch,
        debs=tuple(str(downloads.path(deb.sha256)) for deb in resolution.debs),
        lower=str(lower),
        boot_mount=plan.base.boot.mount,
        out=str(out),
    )
    spec.save(work / "spec.json")
    sandbox.run_inside("tests.emulated", work / "spec.json", on_line=lambda line: progress.step("emulated", line))
    sandbox.remove_tree(work)
    return out


def bake(spec: BakeSpec, work: Path) -> None:
    """No host program but mount and tar touches the tree; the stubs are those of the builder, and so is the packing."""
    binfmt.enable(spec.architecture)
    assert spec.lower is not None
    lower, boot = work / "lower", work / "boot"
    for tree, name in ((lower, ROOT_TAR), (boot, BOOT_TAR)):
        tree.mkdir()
        words = ("-p", "--numeric-owner", "--xattrs", "--xattrs-include=*")
        run(["tar", "-x", *words, "-f", Path(spec.lower, name), "-C", tree])
    stubs, changed, initrds = (work / name for name in ("stubs", "changed", "initrds"))
    shutil.copytree(STAGE / "all", stubs)
    for folder in (stubs, *(path for path in stubs.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # an overlay shows the topmost one's mode, and a checkout has its umask's
    with overlay(work, [stubs, lower], changed) as root, machine(root, boot, spec.boot_mount):
        run(["mount", "--bind", Path(spec.debs[0]).parent, root / "mnt"])
        say("unpack")
        debs = [f"/mnt/{Path(deb).name}" for deb in spec.debs]
        forced = [f"--force-{what}" for what in ("depends", "unsafe-io", "confold")]
        chroot(root, ["dpkg", *forced, "--no-triggers", "--unpack", *debs], spec.epoch)
        say("configure")
        chroot(root, ["dpkg", "--force-confold", "--configure", "-a"], spec.epoch)
        run(["umount", root / "mnt"])
        wanted = (root / "run/initramfs-wanted").exists()
    with overlay(work, [changed, lower], initrds) as root:
        with machine(root, boot, spec.boot_mount):
            for modules in sorted((root / "usr/lib/modules").iterdir()) if wanted else []:
                say(f"initrd {modules.name}")
                chroot(root, ["update-initramfs", "-c", "-k", modules.name], spec.epoch)
        say("pack")
        pack(root, lower, Path(spec.out, ROOT_TAR), architecture=spec.architecture, epoch=spec.epoch)
    pack(boot, None, Path(spec.out, BOOT_TAR), architecture=spec.architecture, epoch=spec.epoch)


if __name__ == "__main__":
    os.umask(0o022)
    bake(BakeSpec.load(Path(sys.argv[1])), Path(sys.argv[1]).parent)
