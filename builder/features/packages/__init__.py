"""The Debian packages that are baked in."""

from __future__ import annotations

from collections.abc import Sequence, Set

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.packages.settings import PackagesKeys
from builder.features.updates import PACKAGE
from builder.features.updates.settings import UpdatesKeys
from builder.model.k3s import K3sServer
from builder.model.sources import PackagesSource

_GUEST_NEEDS = ("qemu-system-x86", "qemu-utils", "socat")
_SERVER_NEEDS = ("curl", "iptables")


def packages(context: Context) -> tuple[str, ...]:
    """Names, sorted. Raises ConfigurationError when the settings switch off a package of the base, or one that the
    guest, k3s or security updates need."""
    chosen = context.keys(PackagesKeys).packages
    wanted = {name for name, wanted in chosen.items() if wanted}
    if context.keys(UpdatesKeys).updates == "security":
        if chosen.get(PACKAGE) is False:
            key, hint = f"packages.{PACKAGE}", "take the line out, or say updates: none"
            raise context.refuse(f"updates: security needs the package {PACKAGE}", key=key, hint=hint)
        wanted.add(PACKAGE)
    source = context.base.source
    own = set(source.packages if isinstance(source, PackagesSource) else ())
    for name in chosen.keys() & own - wanted:
        raise context.refuse(f"{name} is part of the base, and stays", key=f"packages.{name}", hint="take the line out")
    if context.guest is not None:
        _require(context, _GUEST_NEEDS, wanted | own, who="the guest", instead="guest: none")
    if isinstance(context.settings.k3s, K3sServer) and context.settings.k3s_cluster is not None:
        _require(context, _SERVER_NEEDS, wanted | own, who="k3s", instead="k3s: null")
    return tuple(sorted(wanted))


def _require(context: Context, needed: Sequence[str], present: Set[str], *, who: str, instead: str) -> None:
    missing = [name for name in needed if name not in present]
    if missing:
        raise context.refuse(
            f"{who} needs the package {missing[0]}",
            key=f"packages.{missing[0]}",
            hint=f"say packages: {{{missing[0]}: true}}, or {instead}",
        )


FEATURE = Feature(name="packages", order=230, package=__name__, settings=PackagesKeys)
