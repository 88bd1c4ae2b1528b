"""Parse user-data, network-config and meta-data after rendering. Errors have the line.

The reader of profiles parses them. It refuses texts that YAML readers understand differently
(builder/profile/reader.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from builder import limits
from builder.errors import ConfigurationError
from builder.profile import Document, Mark, Problem, parse, refuse

_HEADING = "#cloud-config"
_UNSEEN = re.compile(r"[^\t\n\x20-\x7e\xa0-\U0010ffff]|[\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that are a line break for some YAML readers but not for editors, that change the direction of text, or
that do not belong into text. CR LF is a line break for all readers."""


@dataclass(frozen=True, slots=True)
class SeedText:
    """`name` is the name of the file on the seed disk, `origin` its path in the project."""

    name: str
    content: bytes
    origin: str
    is_rendered: bool

    @property
    def file(self) -> str:
        return f"{self.origin} (rendered)" if self.is_rendered else self.origin


@contextmanager
def quoting(*texts: SeedText) -> Iterator[None]:
    """Add the text of the line to an error about a rendered template, because the user cannot see the rendered text."""
    try:
        yield
    except ConfigurationError as error:
        for text in texts:
            if text.is_rendered and error.where.startswith(f"{text.file}:"):
                hint = "\n  ".join(part for part in (error.hint, _quoted(text, error.where)) if part)
                raise ConfigurationError(error.message, where=error.where, hint=hint) from error
        raise


def document(text: SeedText) -> Document:
    """The text as plain data. Raises ConfigurationError, with file and line."""
    decoded = _decoded(text)
    if text.name == "user-data":
        _require_heading(text, decoded)
    return parse(decoded, text.file)


def _decoded(text: SeedText) -> str:
    if len(text.content) > limits.SEED_DOCUMENT:
        said = f"has {len(text.content)} bytes, and {limits.SEED_DOCUMENT} are the most that a guest is given"
        refuse([Problem(Mark(text.file, 0), said)])
    try:
        decoded = text.content.decode()
    except UnicodeDecodeError as error:
        line = text.content.count(b"\n", 0, error.start) + 1
        refuse([Problem(Mark(text.file, line), "is not UTF-8 text")])
    if unseen := _UNSEEN.search(decoded.replace("\r\n", " \n")):
        line = decoded.count("\n", 0, unseen.start()) + 1
        said = f"has the character U+{ord(unseen[0]):04X}, which editors do not show as YAML readers take it"
        refuse([Problem(Mark(text.file, line), said, "take it out, or write it as an escape in double quotes")])
    return decoded


def _require_heading(text: SeedText, decoded: str) -> None:
    """Raises ConfigurationError unless the first line is `#cloud-config`. cloud-init tells by this line whether the
    text is a script, a list of URLs, an archive or a template (User data formats)."""
    heading = decoded.partition("\n")[0].rstrip()
    if heading != _HEADING:
        hint = "a guest takes no script, #include, template, archive or MIME message; commands belong into runcmd"
        refuse([Problem(Mark(text.file, 1), f"the first line is not {_HEADING}", hint)])


def _quoted(text: SeedText, where: str) -> str:
    number = where.rpartition(":")[2]
    lines = text.content.decode(errors="replace").splitlines()
    if not number.isdecimal() or not 0 < int(number) <= len(lines):
        return ""
    return f"line {number} of what the template became: {lines[int(number) - 1].strip()[: limits.QUOTED]!a}"
