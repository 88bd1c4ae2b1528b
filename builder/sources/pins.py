"""Files that are known before they come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pin:
    """A file that is known before it comes. `remedy` is what the user can do when the server no longer has it."""

    url: str
    sha256: str
    size: int
    remedy: str = ""
