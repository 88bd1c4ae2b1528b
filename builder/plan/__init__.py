"""Profiles, overlays and cloud-init become a Plan: everything that will be done to a node's image, and nothing done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from builder.features import FEATURES
from builder.features.context import Context
from builder.features.packages import packages
from builder.model.edits import Edit
from builder.model.identity import derived_uuid, identity_of
from builder.model.overlays import OverlayFile
from builder.model.plan import Layout, Note, Plan
from builder.model.settings import Base, NodeSettings
from builder.plan.guest_disk import guest_disk
from builder.plan.order import in_order
from builder.plan.own_files import own_files
from builder.plan.seed import seed_files
from builder.plan.show import as_data, to_json, to_lines
from builder.profile import Resolved

__all__ = ["as_data", "layout_of", "make_plan", "to_json", "to_lines"]


def make_plan(
    resolved: Resolved,
    overlays: Mapping[str, tuple[OverlayFile, ...]],
    seed: Iterable[OverlayFile],
    answers: OverlayFile | None = None,
) -> Plan:
    """`overlays` by set (`features/swap`, `roles/worker`); `seed` the templates of cloud-init/ for the guest's seed,
    `answers` that for its installer.

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
        guest_disk=guest_disk(context, answers),
        identity=context.identity,
        layout=layout_of(settings, resolved.base),
        base_edits=tuple(own_files(replace(context, feature="base"), f"bases/{settings.base}")),
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
