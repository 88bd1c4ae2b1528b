"""The Debian packages that are baked in."""

from __future__ import annotations

from builder.features.context import Context
from builder.model.sources import PackagesSource

_GUEST_NEEDS = ("qemu-system-x86", "qemu-utils", "socat")


def packages(context: Context) -> tuple[str, ...]:
    """Names, sorted. ConfigurationError when a role with a guest has switched off what runs it."""
    wanted = {name for name, wanted in context.settings.packages.items() if wanted}
    source = context.base.source
    own = set(source.packages if isinstance(source, PackagesSource) else ())
    for name in context.settings.packages.keys() & own - wanted:
        raise context.refuse(f"{name} is part of the base, and stays", key=f"packages.{name}", hint="take the line out")
    present = wanted | own
    missing = [name for name in _GUEST_NEEDS if name not in present]
    if context.guest is not None and missing:
        raise context.refuse(
            f"the guest needs the package {missing[0]}",
            key=f"packages.{missing[0]}",
            hint=f"say packages: {{{missing[0]}: true}}, or guest: none",
        )
    return tuple(sorted(wanted))
