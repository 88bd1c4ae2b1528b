"""Read profiles/: YAML text becomes documents, documents are merged, and the result becomes a value of the schema."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.settings import Base, Guest, NodeSettings
from builder.profile.document import Document, Mark, Origins, Problem, derived, merge, nearest, refuse
from builder.profile.reader import parse
from builder.profile.schema import refuse_unknown, validate

__all__ = [
    "Document",
    "Mark",
    "Origins",
    "Problem",
    "Resolved",
    "derived",
    "merge",
    "nearest",
    "parse",
    "refuse",
    "refuse_unknown",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A node's settings, base and guest, with the file and line of each key."""

    settings: NodeSettings
    base: Base
    guest: Guest | None
    origins: Origins
