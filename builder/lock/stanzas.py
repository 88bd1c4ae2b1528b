"""Control files of Debian's packages and archives: stanzas of fields, deb822(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from debian.deb822 import Packages

_BETWEEN = re.compile(r"\n(?:[ \t]*\n)+")


def stanzas(text: str) -> Iterator[Packages]:
    """Fields by name, in any case, of each stanza. A stanza with only comments has no field. A value of several lines
    keeps its line ends.

    Each stanza is parsed alone: Deb822.iter_paragraphs stops at a stanza without a field, and takes a text of one line
    for the path of a file.
    """
    from debian.deb822 import Packages  # noqa: PLC0415  (a tenth of a second, which most builds need not wait for)

    for stanza in _BETWEEN.split(text.strip("\n")):
        if stanza:
            # Parsed as bytes: in str, form feeds and U+2028 end a line too, and the text after them would be a field.
            yield Packages(stanza.encode().split(b"\n"))
