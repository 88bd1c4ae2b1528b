"""The key for automatic updates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from builder.model.strict import Strict


class UpdatesKeys(Strict):
    updates: Literal["none", "security"] = Field(
        default="none",
        description="Automatic updates of the Pi: none, or security updates. They never restart the Pi.",
        examples=["security"],
    )
