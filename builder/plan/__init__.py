"""Make a Plan of profiles, overlays and cloud-init: all changes that a build will make to a node's image. Nothing is
changed yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from builder.features import FEATURES
from builder.features.context import Context
from builder.features.feature import Wish
from builder.features.firmware import FirmwareText, firmware_edits
from builder.features.identities import identities
from builder.features.packages import packages
from builder.model.edits import Edit
from builder.model.identity import derived_uuid, identity_of
from builder.model.overlays import OverlayFile
from builder.model.plan import Layout, Note, Plan
from builder.model.settings import Base, NodeSettings
from builder.plan.guest_disk import guest_disk
from builder.plan.line_ends import line_ends
from builder.plan.order import in_order, refuse_lost
from builder.plan.own_files import own_files
from builder.plan.seed import seed_files
from builder.plan.show import as_data, to_json, to_lines
from builder.profile import Resolved
from builder.template.strict import Render

__all__ = ["as_data", "layout_of", "make_plan", "to_json", "to_lines"]


def make_plan(
    resolved: Resolved,
    overlays: Mapping[str, tuple[OverlayFile, ...]],
    seed: Iterable[OverlayFile],
    answers: OverlayFile | None = None,
    *,
    render: Render,
) -> Plan:
    """`overlays` has the files of overlays/ by set (`features/swap`, `roles/worker`). `seed` are the templates of
    cloud-init/ for the guest's seed, `answers` is the template for its installer. `render` fills in templates;
    builder.host.rendering limits the time and memory of a project's templates.

    Raises ConfigurationError, with the file, for anything in them that cannot be built.
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
        render=render,
    )
    wishes = list(_wishes(context))
    base_edits = tuple(own_files(replace(context, feature="base"), f"bases/{settings.base}"))
    texts = firmware_edits((wish for wish in wishes if isinstance(wish, FirmwareText)), resolved.base)
    # Edits of config.txt come first, so that a role that writes the whole file is refused.
    edits = in_order((*texts, *(wish for wish in wishes if isinstance(wish, Edit))), resolved.base)
    refuse_lost(base_edits, edits)
    disk = guest_disk(context, answers)
    of_guest = (*disk.installer, *disk.edits) if disk is not None else ()
    return Plan(
        settings=settings,
        base=resolved.base,
        guest=resolved.guest,
        guest_disk=disk,
        identity=context.identity,
        layout=layout_of(settings, resolved.base),
        base_edits=base_edits,
        identities=identities(replace(context, feature="identities")),
        packages=packages(context),
        packages_origin=resolved.origins.of("packages"),
        edits=edits,
        seed=tuple(seed_files(context, seed)),
        notes=(
            *(wish for wish in wishes if isinstance(wish, Note)),
            *line_ends((*base_edits, *edits, *of_guest)),
        ),
    )


def layout_of(settings: NodeSettings, base: Base) -> Layout:
    """The base's partitions. The ids of the filesystems are derived from the role, so that images of its nodes differ
    in few blocks."""

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


def _wishes(context: Context) -> Iterator[Wish]:
    for feature in FEATURES:
        yield from feature.edits(replace(context, feature=feature.name))
