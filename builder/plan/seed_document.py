"""The door for user-data, network-config and meta-data: rendered text becomes plain data, or an error with its line.

The reader is that of profiles, so a text that YAML readers disagree on is refused (builder/profile/reader.py).
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
"""Characters that YAML readers take for line breaks and editors do not, that turn the direction of text, or that no
text has. CR LF is a line break for all of them."""


@dataclass(frozen=True, slots=True)
class SeedText:
    """`name` is the file's on the seed disk; `origin` its path in the project."""

    name: str
    content: bytes
    origin: str
    is_rendered: bool

    @property
    def file(self) -> str:
        return f"{self.origin} (rendered)" if self.is_rendered else self.origin


@contextmanager
def quoting(*texts: SeedText) -> Iterator[None]:
    """Adds the line to an error about a rendered text: nobody but the build sees what a template becomes."""
    try:
        yield
    except ConfigurationError as error:
        for text in texts:
            if text.is_rendered and error.where.startswith(f"{text.file}:"):
                hint = "\n  ".join(part for part in (error.hint, _quoted(text, error.where)) if part)
                raise ConfigurationError(error.message, where=error.where, hint=hint) from error
        raise


def document(text: SeedText) -> Document:
    """The text as plain data. ConfigurationError with file and line."""
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
    """cloud-init goes by the first line; it takes scripts, lists of URLs, archives and templates too (User data
    formats)."""
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
