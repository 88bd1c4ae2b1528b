"""Forms of texts and numbers in a manifest, which may come from a stranger. model/image_path.py has the form of
paths."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder import limits
from builder.model.values import of_form

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_LAST_ID = 2**32 - 2
"""Linux keeps 2**32 - 1 for "no such user" (chown(2))."""


Words = Annotated[
    str, of_form(rf"[^{_CONTROL}]{{0,{limits.WORDS}}}", f"is not one line of at most {limits.WORDS} characters")
]
"""One line of text for people."""
FatName = Annotated[str, of_form(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?", "is not one plain file name")]
"""One name on a FAT volume. It is the same in every code page, and has no final dot, which FAT would drop."""
Mode = Annotated[int, Field(ge=0, le=0o7777)]
Owner = Annotated[int, Field(ge=0, le=_LAST_ID)]
