"""Escape text from outside for terminals and logs.

A name in an image, a manifest or a profile may hold escape sequences that repaint the screen, line ends that forge a
line, or marks that change the direction of writing. In Unicode, none of these characters is printable.
"""

from __future__ import annotations

from collections.abc import Callable

_LAYOUT = "\n\t"
"""Unprintable characters that stay in a text of several lines."""
_Escape = Callable[[str], str]


def escaped(text: str) -> str:
    """The text with Python's escapes (`\\x1b`) for characters that are not printable. Line ends and tabs stay."""
    return _replaced(text, _python_escape, kept=_LAYOUT)


def one_line(text: str) -> str:
    """The text as one line: line ends and tabs are escaped too (`\\n`)."""
    return _replaced(text, _python_escape, kept="")


def escaped_json(text: str) -> str:
    """JSON text with JSON's escapes (RFC 8259, section 7: `\\u001b`) for characters that are not printable."""
    return _replaced(text, _json_escape, kept=_LAYOUT)


def tail(text: str, lines: int = 25) -> str:
    """The last lines of a log for the end of a message, each on its own line after a bar."""
    return "".join(f"\n  | {line}" for line in text.strip().splitlines()[-lines:])


def _replaced(text: str, escape: _Escape, *, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else escape(char) for char in text)


def _python_escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
