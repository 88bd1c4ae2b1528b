"""Profiles, overlays and cloud-init become a Plan: everything that will be done to a node's image, and nothing done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from builder.errors import ConfigurationError
from builder.features import FEATURES
from builder.features.context import Context
from builder.features.packages import packages
from builder.model.edits import Edit
from builder.model.identity import derived_uuid, identity_of
from builder.model.overlays import OverlayFile
from builder.model.plan import GuestDisk, Layout, Note, Plan
from builder.model.settings import Base, NodeSettings
from builder.plan.order import in_order
from builder.plan.seed import seed_files
from builder.plan.show import as_data, to_json, to_lines
from builder.profile import Resolved

__all__ = ["as_data", "layout_of", "make_plan", "to_json", "to_lines"]


def make_plan(resolved: Resolved, overlays: Mapping[str, tuple[OverlayFile, ...]], seed: Iterable[OverlayFile]) -> Plan:
    """`overlays` by set (`features/swap`, `roles/worker`); `seed` the templates of cloud-init/ for the guest's seed.

    ConfigurationError for anything in them that cannot be built, with the file that says it.
    """
    settings = resolved.settings
    context = Context(
        feature="",
        settings=settings,
        base=resolved.base,
        guest=resolved.guest,
        identity=identity_of(settings),
        origins=resolved.origins,
        overlays=overlays,
    )
    wishes = list(_wishes(context))
    return Plan(
        settings=settings,
        base=resolved.base,
        guest=resolved.guest,
        guest_disk=_guest_disk(context),
        identity=context.identity,
        layout=layout_of(settings, resolved.base),
        base_edits=tuple(_own_files(context, f"bases/{settings.base}", "base")),
        packages=packages(context),
        packages_origin=resolved.origins.of("packages"),
        edits=in_order((wish for wish in wishes if isinstance(wish, Edit)), resolved.base),
        seed=tuple(seed_files(context, seed)),
        notes=tuple(wish for wish in wishes if isinstance(wish, Note)),
    )


def layout_of(settings: NodeSettings, base: Base) -> Layout:
    """The base's partitions. The filesystems' ids are the role's, so that its nodes share all but a few blocks."""

    def derived(purpose: str) -> str:
        return str(derived_uuid(settings.cluster, f"{settings.role}/{settings.base}", purpose))

    return Layout(
        boot_start=base.boot.start,
        boot_size=base.boot.size,
        boot_label=base.boot.label,
        boot_volume_id=int(derived("boot-volume")[:8], 16),
        sectors_per_cluster=base.boot.sectors_per_cluster,
        root_start=base.root.start,
        root_label=base.root.label,
        root_margin=base.root.margin,
        root_uuid=derived("root-filesystem"),
        root_hash_seed=derived("root-hash-seed"),
        root_features=base.root.features,
    )


def _wishes(context: Context) -> Iterator[Edit | Note]:
    for feature in FEATURES:
        name = feature.__module__.rpartition(".")[2].replace("_", "-")
        yield from feature(replace(context, feature=name))


def _guest_disk(context: Context) -> GuestDisk | None:
    """The guest's own files are in its disk, which has no identity."""
    if context.guest is None:
        return None
    name = context.settings.guest
    files = _own_files(context, f"guests/{name}", "guest")
    return GuestDisk(name, context.guest.disk, context.guest.kernel_words is not None, tuple(files))


def _own_files(context: Context, overlay: str, feature: str) -> Iterator[Edit]:
    """Files of overlays/bases/NAME or overlays/guests/NAME; most have none. They are the same for every node."""
    asking = replace(context, feature=feature)
    for file in context.overlays.get(overlay, ()):
        if file.is_template:
            raise ConfigurationError(
                f"is a template, and a {feature} is shared by all nodes",
                where=file.origin,
                hint="write it out, or put it into overlays/roles/",
            )
        yield asking.overlay_file(file, scope="golden", origin=file.origin)
