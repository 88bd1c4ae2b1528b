"""Licences as SPDX writes them (SPDX 2.3, annex D), from the words of a package."""

from __future__ import annotations

import functools

from license_expression import Licensing, get_spdx_licensing

_OF_ONE_DOCUMENT = "LicenseRef-"
"""The beginning of a name that is not on SPDX's list: a document that has one is to hold the licence's text."""


def spdx_licence(words: str) -> str:
    """The expression that a package's words are: `MIT AND GPL-2.0-or-later WITH Bison-exception-2.2`; names as SPDX's
    list has them today. "" where they are no expression, or have a name that is not on the list: it would make the
    whole document invalid."""
    licensing = _licensing()
    try:
        found = licensing.parse(words, validate=True, strict=True)
    except Exception:  # it ends in IndexError, AssertionError or RecursionError on words such as `()`
        return ""
    if found is None or any(key.startswith(_OF_ONE_DOCUMENT) for key in licensing.license_keys(found)):
        return ""
    return str(found.render())


@functools.cache
def _licensing() -> Licensing:
    """Reads 2,400 names, which takes a tenth of a second."""
    return get_spdx_licensing()
