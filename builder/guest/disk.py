"""The disk of a plan's guest, made as its profile says: of packages, by an installer, or of a cloud image."""

from __future__ import annotations

from builder.base.layers import Layers
from builder.fetch.upstream import named_guest, take_whole
from builder.guest import baked
from builder.guest.alpine import AlpineDisks
from builder.model.plan import Plan
from builder.model.sources import PackagesSource
from builder.store.products import Blobs


def guest_disk(plan: Plan, layers: Layers) -> Blobs | None:
    """The guest's blobs; None for a plan without a guest. Raises as the makers do, and DownloadError."""
    disk, guest = plan.guest_disk, plan.guest
    if disk is None or guest is None:
        return None
    source, cache, resolver, progress = guest.source, layers.cache, layers.resolver, layers.progress
    if isinstance(source, PackagesSource):
        wanted = baked.layer_inputs(guest.architecture, disk)
        system = layers.bootstrap(f"guest {disk.name}", guest.release, source, wanted)
        return baked.make_disk(disk, system.layer, epoch=system.epoch, store=layers.store, progress=progress)
    named = named_guest(disk.name, source)
    image = resolver.published(named, lambda: take_whole(named, cache, progress, offline=resolver.offline))
    resolver.keep_image(named.name, image)
    return AlpineDisks(layers.store, progress, offline=resolver.offline).make_disk(
        disk,
        guest,
        cache.path(image.sha256),
        locked={named.name: image},
        require_whole=lambda: cache.require_whole(image.sha256),
    )
