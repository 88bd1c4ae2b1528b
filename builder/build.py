"""The table of contents: profiles become plans, plans become images. Nothing here touches the world by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder import publish
from builder.cache import in_use
from builder.disk.golden import Golden
from builder.disk.stamp import Stamp
from builder.kitchen import BuildOptions, Built, Kitchen, healing
from builder.lock_file import LOCK_FILE
from builder.model.manifest import Manifest
from builder.model.plan import Plan
from builder.model.progress import Progress
from builder.model.sources import PublishedFile
from builder.plan import make_plan
from builder.plan.secret_free import without_secrets
from builder.project import Project
from builder.relock import Change, Relocker
from builder.secrets import Secrets, secrets_of
from builder.sources import Cache
from builder.store import Store

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
    """The plans of distinct nodes, once it is certain that none of them collides with another."""
    resolved = [project.settings(node, role, base, guest, preset=preset) for node in dict.fromkeys(nodes)]
    project.identities(resolved)
    return [make_plan(one, project.overlays, project.seed, project.answers) for one in resolved]


def build(project: Project, nodes: Sequence[str], options: BuildOptions, progress: Progress) -> list[Built]:
    """Write the image of each node and its manifest into the output folder.

    Raises the errors of builder.errors; an image that is there stays as it was until its successor is complete.
    """
    plans = make_plans(project, nodes, options.role, options.base, preset=options.preset)
    for text in dict.fromkeys(note.text for plan in plans for note in plan.notes):
        progress.step("note", text)
    if options.without_secrets:
        plans = [without_secrets(plan) for plan in plans]
    secrets = Secrets(project.root, options.ask)
    secrets.require(secret for plan in plans for secret in secrets_of(plan))
    publish.prepare_folder(options.output)
    with in_use(options.cache), publish.locked(options.output, [plan.settings.name for plan in plans]):
        return healing(lambda: Kitchen(project, options, secrets, progress).images(plans), options.cache, progress)


def relock(project: Project, names: Sequence[str], cache: Path, progress: Progress) -> list[Change]:
    """Lock what the archives offer now, of all or of what has these names; what has changed."""
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
    """A node's image that is nowhere yet: its golden image, every byte of which has been looked at, and what is to be
    changed of it, secrets too. It lasts as long as the context."""
    secrets.require(secrets_of(plan))
    with in_use(options.cache):
        kitchen = Kitchen(project, options, secrets, progress)
        yield healing(lambda: kitchen.stamped(plan), options.cache, progress)
