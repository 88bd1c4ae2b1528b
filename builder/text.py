"""Text from outside, made fit for a terminal and a log.

A name in an image, a manifest or a profile may hold escape sequences that repaint a screen, line ends that forge a
line, or marks that turn the direction of writing. Unicode calls none of these characters printable.
"""

from __future__ import annotations

from collections.abc import Callable

_LAYOUT = "\n\t"
"""Characters that a text of several lines may have."""
_Escape = Callable[[str], str]


def escaped(text: str) -> str:
    """The text with each character that is not printable as an escape of Python's (`\\x1b`); lines stay lines."""
    return _replaced(text, _python_escape, kept=_LAYOUT)


def one_line(text: str) -> str:
    """The same, as one line: line ends and tabs are escapes, too (`\\n`)."""
    return _replaced(text, _python_escape, kept="")


def escaped_json(text: str) -> str:
    """JSON text with each character that is not printable as an escape of JSON's (RFC 8259, 7: `\\u001b`)."""
    return _replaced(text, _json_escape, kept=_LAYOUT)


def tail(text: str, lines: int = 25) -> str:
    """The last lines of a log, each on a line of its own behind a bar, for the end of a message."""
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
