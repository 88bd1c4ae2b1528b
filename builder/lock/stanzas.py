"""Control files of Debian's packages and archives: stanzas of fields, deb822(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from debian.deb822 import Packages

_BETWEEN = re.compile(r"\n(?:[ \t]*\n)+")


def stanzas(text: str) -> Iterator[Packages]:
    """Each stanza's fields by name, in whatever case. A stanza of comments alone has none. A value of several lines
    has its line ends.

    Each is read by itself: Deb822.iter_paragraphs ends where a stanza has no field, and takes a text of one line for
    the path of a file.
    """
    from debian.deb822 import Packages  # noqa: PLC0415  (a tenth of a second, which most builds need not wait for)

    for stanza in _BETWEEN.split(text.strip("\n")):
        if stanza:
            # Bytes: in text, form feeds and U+2028 are line ends too, and what follows them would be a field.
            yield Packages(stanza.encode().split(b"\n"))
