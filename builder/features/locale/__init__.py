"""Time zone and language."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit
from builder.model.plan import Note

_IN_EVERY_DEBIAN = ("C.UTF-8", "POSIX", "C")


def edits(context: Context) -> Iterator[Edit | Note]:
    zone, locale = context.settings.timezone, context.settings.locale
    yield context.symlink("/etc/localtime", f"/usr/share/zoneinfo/{zone}", key="timezone")
    yield context.write("/etc/timezone", f"{zone}\n", key="timezone")
    yield context.write("/etc/locale.conf", f"LANG={locale}\n", key="locale")
    # Debian 12 and older read this path. Debian 13 has this link.
    yield context.symlink("/etc/default/locale", "../locale.conf", key="locale")
    if locale not in _IN_EVERY_DEBIAN:
        yield Note(context.feature, f"locale {locale} must come with the base or the package locales-all")


FEATURE = Feature(name="locale", order=30, package=__name__, edits=edits)
