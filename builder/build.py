"""The steps of a build: profiles become plans, plans become images. This module only calls other rooms.

    plan -> base, guest -> bake -> golden -> stamp -> write

Each step resolves and fetches its inputs right before it starts. All nodes that name a base or a guest share it. All
nodes of a role share its layers of packages and its golden image.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder import doctor
from builder.assemble import BuildContext, BuildOptions, Built, healing, side_by_side
from builder.base.layers import BaseLayer
from builder.fetch import Cache
from builder.guest import airgap
from builder.guest.disk import guest_disk
from builder.host import tools
from builder.host.rendering import rendering
from builder.host.scratch import private_folder
from builder.image import output
from builder.image.frames import Frames, golden_frames
from builder.image.golden import Golden, make_golden
from builder.image.stamp import Stamp
from builder.lock.lock_file import LOCK_FILE
from builder.lock.relock import Change, Relocker
from builder.model.manifest import Manifest
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.model.sources import PublishedFile
from builder.plan import make_plan
from builder.plan.secret_free import without_secrets
from builder.project import Project
from builder.secrets.resolve import Secrets, secrets_of
from builder.store.products import Blobs, Store, require_whole
from builder.store.upkeep import in_use

__all__ = ["BuildOptions", "Built", "build", "make_plans", "relock", "stamped"]


def make_plans(
    project: Project,
    nodes: Sequence[str],
    role: str | None,
    base: str | None,
    guest: str | None = None,
    *,
    preset: str | None = None,
) -> list[Plan]:
    """The plans of the nodes; a repeated name counts once. Raises ConfigurationError, also when a node collides with
    another one."""
    resolved = [project.settings(node, role, base, guest, preset=preset) for node in dict.fromkeys(nodes)]
    project.identities(resolved)
    files = project.overlays, project.seed, project.answers
    with rendering() as render:
        return [make_plan(one, *files, render=render) for one in resolved]


def build(project: Project, nodes: Sequence[str], options: BuildOptions, progress: Progress) -> list[Built]:
    """Write the image of each node and its manifest into the output folder.

    Raises the errors of builder.errors. An old image stays unchanged until the new one is complete.
    """
    plans = make_plans(project, nodes, options.role, options.base, preset=options.preset)
    for text in dict.fromkeys(note.text for plan in plans for note in plan.notes):
        progress.step("note", text)
    if options.without_secrets:
        plans = [without_secrets(plan) for plan in plans]
    secrets = Secrets(project.root, options.ask)
    _require(secrets, plans, progress)
    output.prepare_folder(options.output)
    with in_use(options.cache), output.locked(options.output, [plan.settings.name for plan in plans]):
        return healing(
            lambda: _images(BuildContext.of(project, options, secrets, progress), plans), options.cache, progress
        )


def relock(project: Project, names: Sequence[str], cache: Path, progress: Progress) -> list[Change]:
    """Lock the newest versions in the archives, for everything or for `names`, and return the changes."""
    bases = {name: project.base(name).source for name in project.names("bases")}
    disks = {f"guest {name}": project.guest(name).source for name in project.names("guests")}
    images = {name: source for name, source in (bases | disks).items() if isinstance(source, PublishedFile)}
    path = project.root / LOCK_FILE
    with in_use(cache):
        return Relocker(path, Cache(cache), Store(cache), progress, images, project.archives()).upgrade(names)


@contextmanager
def stamped(
    project: Project, plan: Plan, secrets: Secrets, options: BuildOptions, progress: Progress
) -> Iterator[tuple[Golden, Stamp, Manifest]]:
    """The parts of a node's image, without writing it: its golden image with every byte verified, the node's changed
    blocks (with secrets), and the manifest. They are valid while the context lasts."""
    _require(secrets, [plan], progress)
    with in_use(options.cache):
        context = BuildContext.of(project, options, secrets, progress)
        yield healing(lambda: _stamped(context, plan), options.cache, progress)


def _images(context: BuildContext, plans: Sequence[Plan]) -> list[Built]:
    """The steps golden, stamp and write. Nodes are stamped and written in parallel."""
    goldens = _goldens(context, plans)
    frames = _frames(context, goldens.values())
    with side_by_side(context.options.jobs) as submit:
        pending = [
            submit(_write, context, plan, golden, frames.get(golden.folder))
            for plan, golden in zip(plans, goldens.values(), strict=True)
        ]
        return [future.result() for future in pending]


def _goldens(context: BuildContext, plans: Sequence[Plan]) -> dict[str, Golden]:
    """Golden images by node. Guests and bases are made in parallel, each once for all nodes that share it, and then the
    golden images. Versions of host programs are checked against pimu.lock, and new ones are locked."""
    shaping = tools.shaping_tools()
    context.resolver.require_tools(shaping)
    with side_by_side(context.options.jobs) as submit:
        guests = {name: submit(guest_disk, plan, context.layers) for name, plan in _guests(plans).items()}
        bases = {name: submit(context.layers.base, plan) for name, plan in _bases(plans).items()}
        doctor.require_mke2fs()
        disks = {name: future.result() for name, future in guests.items()}
        layers = {name: future.result() for name, future in bases.items()}
    goldens = {
        plan.settings.name: _golden(context, plan, layers[plan.settings.base], disks.get(_guest_of(plan)))
        for plan in plans
    }
    context.resolver.keep_tools(shaping)
    return goldens


def _golden(context: BuildContext, plan: Plan, base: BaseLayer, guest: Blobs | None) -> Golden:
    """The steps bake and golden. The store keeps their products for all nodes of a role."""
    store, progress = context.store, context.progress
    k3s = airgap.make_blobs(
        plan, context.resolver, cache=context.cache, store=store, epoch=base.epoch, progress=progress
    )
    packages = context.layers.add_packages(plan, base)
    layers = [base.layer, *([packages] if packages else [])]
    return make_golden(
        plan, layers, [one for one in (guest, k3s) if one], epoch=base.epoch, store=store, progress=progress
    )


def _frames(context: BuildContext, goldens: Iterable[Golden]) -> dict[Path, Frames]:
    """The frames of each golden image, by its folder. They are made one after the other, because each uses all
    processors. Without compression there are none."""
    compression = context.options.compression
    if compression is None:
        return {}
    distinct = {golden.folder: golden for golden in goldens}
    return {
        folder: golden_frames(golden, compression, context.store, context.progress)
        for folder, golden in distinct.items()
    }


def _write(context: BuildContext, plan: Plan, golden: Golden, frames: Frames | None) -> Built:
    """The steps stamp and write."""
    options, begun = context.options, time.monotonic()
    context.progress.step("stamp", plan.settings.name)
    image, manifest, changed = output.node_image(
        plan, golden, output=options.output, secrets=context.secrets, sha256=options.sha256, frames=frames
    )
    return Built(plan, image, manifest, changed, time.monotonic() - begun)


def _stamped(context: BuildContext, plan: Plan) -> tuple[Golden, Stamp, Manifest]:
    golden = _goldens(context, [plan])[plan.settings.name]
    require_whole(golden.folder, golden.image.name)
    with private_folder() as work:
        stamp, manifest = output.stamp_node(plan, golden, secrets=context.secrets, work=work)
    return golden, stamp, manifest


def _guest_of(plan: Plan) -> str:
    return plan.guest_disk.name if plan.guest_disk else ""


def _guests(plans: Sequence[Plan]) -> dict[str, Plan]:
    """One plan for each distinct guest."""
    return {_guest_of(plan): plan for plan in plans if plan.guest_disk}


def _bases(plans: Sequence[Plan]) -> dict[str, Plan]:
    """One plan for each distinct base."""
    return {plan.settings.base: plan for plan in plans}


def _require(secrets: Secrets, plans: Sequence[Plan], progress: Progress) -> None:
    """Read every secret before minutes of baking. Raises ConfigurationError for an absent or malformed secret, and when
    workers would get a secret of the servers."""
    wanted = [secret for plan in plans for secret in secrets_of(plan)]
    secrets.require(wanted)
    for plan in plans:
        secrets.require_apart(plan.settings.k3s_cluster)
    for remark in secrets.remarks(wanted):
        progress.step("note", remark)
