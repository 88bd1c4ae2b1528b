"""Parse JSON that may come from a stranger. Its depth is limited, and texts with two meanings are refused.

RFC 8259, section 4, leaves open which of two equal names counts; section 9 allows limits of size and depth.
"""

from __future__ import annotations

import json
import re
from typing import Any

from builder import limits

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def parse_json(text: str, *, deepest: int) -> Any:
    """The value of a JSON text. Raises ValueError for a text that is no JSON, nesting deeper than `deepest`, a name
    that comes twice in one object, and numbers that JSON lacks (NaN, Infinity)."""
    _require_flat(text, deepest)
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def _require_flat(text: str, deepest: int) -> None:
    """Raises ValueError for deep nesting. json.loads recurses, and would end with a RecursionError."""
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > deepest:
            raise ValueError(f"is nested deeper than {deepest} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the key {twice[: limits.QUOTED]!r} twice in one object")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"has the number {word}, which JSON does not know")
