"""Licences of packages: an expression of SPDX's list, or nothing at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.publish.licences import spdx_licence


@pytest.mark.parametrize(
    "words",
    [
        "MIT",
        "GPL-2.0-only AND MIT AND ISC",
        "Artistic-1.0-Perl OR GPL-1.0-or-later",
        "GPL-2.0-or-later WITH Autoconf-exception-3.0",
        "Zlib AND (MIT OR Apache-2.0)",
        "blessing",
        "0BSD AND BSL-1.0 AND CC0-1.0 AND MPL-2.0 AND OpenSSL AND PSF-2.0 AND Unlicense AND curl",
    ],
)
def test_an_expression_stays_as_it_is(words: str) -> None:
    assert spdx_licence(words) == words


@pytest.mark.parametrize(
    ("words", "licence"),
    [
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("mit and apache-2.0", "MIT AND Apache-2.0"),
        ("(MIT OR Apache-2.0)", "MIT OR Apache-2.0"),
        ("MIT AND ISC OR Zlib", "(MIT AND ISC) OR Zlib"),
    ],
)
def test_older_names_and_other_writings_become_those_of_the_list(words: str, licence: str) -> None:
    assert spdx_licence(words) == licence


@pytest.mark.parametrize(
    "words",
    [
        *("", " ", "custom", "GPL-2.0-only AND custom", "BSD-2-Clause GPL-2.0-only", "MIT/X11", "NONE", "NOASSERTION"),
        *("MIT WITH ISC", "Autoconf-exception-3.0", "GPL-2.0-only WITH OpenSSL-Exception", "MIT AND", "OR", "(MIT"),
        *("LicenseRef-mine", "LicenseRef-scancode-public-domain", "DocumentRef-a:LicenseRef-b"),
        *("()", "( OR ISC", "MIT\x00", "(MIT AND (ISC OR " * 2000 + "MIT" + "))" * 2000),
    ],
)
def test_other_words_are_no_licence(words: str) -> None:
    assert spdx_licence(words) == ""


WORDS = st.sampled_from(["MIT", "GPL-2.0+", "Bison-exception-2.2", "AND", "or", "WITH", "(", ")", "x", "/", "{}", "\n"])


@given(st.one_of(st.text(), st.lists(WORDS, max_size=9).map(" ".join)))
def test_a_licence_is_one_whose_words_mean_itself(words: str) -> None:
    licence = spdx_licence(words)
    assert spdx_licence(licence) == licence
