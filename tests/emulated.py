"""Packages baked both ways: by the builder, and as everybody does it, with the target's own programs in a chroot, by
emulation from the first byte to the last. `python -m tests.emulated dpkg|apt SPEC` is the slow way inside the sandbox.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.bake import binfmt
from builder.bake.inside import chroot
from builder.bake.mounts import machine, overlay
from builder.bake.pack import pack
from builder.bake.spec import BakeSpec
from builder.bake.stand_ins import STAGE
from builder.base.layers import BaseLayer, Layers
from builder.build import make_plans
from builder.fetch import Cache
from builder.host import sandbox
from builder.host.run import run
from builder.lock.lock_file import LOCK_FILE
from builder.lock.resolve import Resolver
from builder.model.layer import BOOT_TAR, ROOT_TAR
from builder.model.lock import Resolution
from builder.model.plan import Plan
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from builder.store.products import Product, Store
from tests.planned import DEBIAN

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bakes:
    """Directories of two layers of the same packages on the same base."""

    fast: Path
    slow: Path


@dataclass(frozen=True)
class Ingredients:
    """The inputs of a bake of a worker's packages; `folder` is for the results."""

    plan: Plan
    packages: Sequence[str]
    lower: BaseLayer
    resolver: Resolver
    downloads: Cache
    folder: Path


def ingredients(packages: Sequence[str], folder: Path) -> Ingredients:
    """Packages (none: the worker's) and the base of node-003, which comes from the user's cache."""
    (plan,) = make_plans(Project(ROOT), ["node-003"], "worker", DEBIAN)
    warm = Store(upkeep.default_root())
    lock, downloads = folder / LOCK_FILE, Cache(warm.root)
    if (ROOT / LOCK_FILE).exists():
        shutil.copy(ROOT / LOCK_FILE, lock)
    resolver = Resolver(lock, downloads, warm, Silent(), offline=False)
    lower = Layers(resolver, downloads, warm, Silent()).base(plan)
    return Ingredients(plan, packages or plan.packages, lower, resolver, downloads, folder)


@dataclass(frozen=True)
class Seconds:
    """`install`: unpacking and configuring alone. `whole`: all of it, from the base and the packages' files, initrd
    included, to the layer's tar; of apt, the command."""

    install: float
    whole: float


class Stopwatch(Silent):
    """Reads the lines of progress that a bake writes at the beginning of each of its stages."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}

    def step(self, name: str, text: str) -> None:
        if match := re.search(r"([\d.]+) s  (\w+)", text):
            self.stages[match[2]] = float(match[1])

    def install(self) -> float:
        return self.stages.get("initrd", self.stages["pack"]) - self.stages["unpack"]


def bake_fast(given: Ingredients) -> tuple[Product, Seconds]:
    """The builder's layer, made anew."""
    store, progress = Store(given.folder / "store"), Stopwatch()
    store.root.mkdir()
    (store.root / "accel").symlink_to(upkeep.default_root() / "accel")  # made once per suite, not per bake
    begun = time.monotonic()
    layers = Layers(given.resolver, given.downloads, store, progress)
    layer = layers.add_packages(replace(given.plan, packages=tuple(given.packages)), given.lower)
    assert layer is not None
    return layer, Seconds(progress.install(), time.monotonic() - begun)


def bake_both(packages: Sequence[str], folder: Path) -> Bakes:
    """The builder's layer, and the one that dpkg makes in a chroot by emulation alone."""
    given = ingredients(packages, folder)
    fast, _ = bake_fast(given)
    slow = folder / "slow"
    slow.mkdir()
    _inside(given, fast, slow, "dpkg")
    return Bakes(fast.folder, slow)


def install_slowly(given: Ingredients, layer: Product) -> tuple[int, Seconds]:
    """The number of packages, and the seconds that `apt-get install` of their files takes in a chroot by emulation."""
    out = given.folder / "apt"
    out.mkdir()
    count = len(_inside(given, layer, out, "apt").debs)
    return count, Seconds(**json.loads((out / "seconds.json").read_text()))


def _inside(given: Ingredients, layer: Product, out: Path, how: str) -> Resolution:
    """Install the packages of the builder's layer once more."""
    (resolution,) = (found for name, found in layer.locked.items() if " packages " in name)
    assert isinstance(resolution, Resolution)
    work = given.folder / f"emulated-{how}"
    work.mkdir()
    spec = BakeSpec(
        architecture=given.plan.base.architecture,
        epoch=resolution.epoch,
        debs=tuple(str(given.downloads.path(deb.sha256)) for deb in resolution.debs),
        removed=resolution.removed,
        lower=str(given.lower.layer.folder),
        boot_mount=given.plan.base.boot.mount,
        out=str(out),
    )
    spec.save(work / "spec.json")
    sandbox.run_trusted("tests.emulated", how, work / "spec.json", on_line=lambda _: None)
    sandbox.remove_tree(work)
    return resolution


def extract(spec: BakeSpec, work: Path) -> tuple[Path, Path]:
    """The base as its two folders, root and boot."""
    binfmt.enable(spec.architecture)
    assert spec.lower is not None
    lower, boot = work / "lower", work / "boot"
    for tree, name in ((lower, ROOT_TAR), (boot, BOOT_TAR)):
        tree.mkdir()
        words = ("-p", "--numeric-owner", "--xattrs", "--xattrs-include=*")
        run(["tar", "-x", *words, "-f", Path(spec.lower, name), "-C", tree])
    return lower, boot


def install_with_apt(spec: BakeSpec, work: Path) -> None:
    """Install as an image builder in a chroot does: its package manager does all, and makes the initrd, too."""
    root, boot = extract(spec, work)
    shutil.copy2(STAGE / "all/usr/sbin/policy-rc.d", root / "usr/sbin")
    debs = root / "srv"
    for deb in spec.debs:
        shutil.copy(deb, debs / f"{Path(deb).name}.deb")
    names = [f"/srv/{deb.name}" for deb in debs.glob("*.deb")]
    words = ("--yes", "--no-install-recommends", "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0")
    said: list[tuple[float, str]] = []
    with machine(root, boot, spec.boot_mount):
        begun = time.monotonic()
        run(
            ["chroot", root, "sh", "-c", 'exec "$@" 1>&2', "sh", "apt-get", *words, "install", *names],
            env={"DEBIAN_FRONTEND": "noninteractive"},
            on_line=lambda line: said.append((time.monotonic() - begun, line)),
        )
        whole = time.monotonic() - begun
    unpacks = next(second for second, line in said if line.startswith(("Selecting", "Preparing")))
    install = whole - unpacks - sum(_initrds([*said, (whole, "")]))
    Path(spec.out, "seconds.json").write_text(json.dumps({"install": install, "whole": whole}))


def _initrds(said: Sequence[tuple[float, str]]) -> Iterator[float]:
    """From each line that announces an initrd to the next line."""
    for (begun, line), (ended, _) in itertools.pairwise(said):
        if line.startswith("update-initramfs: Generating"):
            yield ended - begun


def bake(spec: BakeSpec, work: Path) -> None:
    """No host program but mount and tar touches the tree; the stubs are those of the builder, and so is the packing."""
    lower, boot = extract(spec, work)
    stubs, changed, initrds = (work / name for name in ("stubs", "changed", "initrds"))
    shutil.copytree(STAGE / "all", stubs)
    for folder in (stubs, *(path for path in stubs.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # an overlay shows the topmost one's mode, and a checkout has its umask's
    with overlay(work, [stubs, lower], changed) as root, machine(root, boot, spec.boot_mount):
        run(["mount", "--bind", Path(spec.debs[0]).parent, root / "mnt"])
        debs = [f"/mnt/{Path(deb).name}" for deb in spec.debs]
        forced = [f"--force-{what}" for what in ("depends", "unsafe-io", "confold")]
        if spec.removed:
            chroot(root, ["dpkg", *forced, "--no-triggers", "--remove", *spec.removed], spec.epoch)
        chroot(root, ["dpkg", *forced, "--no-triggers", "--unpack", *debs], spec.epoch)
        chroot(root, ["dpkg", "--force-confold", "--configure", "-a"], spec.epoch)
        run(["umount", root / "mnt"])
        wanted = (root / "run/initramfs-wanted").exists()
    with overlay(work, [changed, lower], initrds) as root:
        with machine(root, boot, spec.boot_mount):
            for modules in sorted((root / "usr/lib/modules").iterdir()) if wanted else []:
                chroot(root, ["update-initramfs", "-c", "-k", modules.name], spec.epoch)
        pack(root, lower, Path(spec.out, ROOT_TAR), architecture=spec.architecture, epoch=spec.epoch)
    pack(boot, None, Path(spec.out, BOOT_TAR), architecture=spec.architecture, epoch=spec.epoch)


if __name__ == "__main__":
    os.umask(0o022)
    install = {"apt": install_with_apt, "dpkg": bake}[sys.argv[1]]
    install(BakeSpec.load(Path(sys.argv[2])), Path(sys.argv[2]).parent)
