"""Updates, as a role or node asks for them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from builder.model.strict import Strict


class UpdatesKeys(Strict):
    updates: Literal["none", "security"] = Field(
        default="none",
        description="Updates that the Pi takes by itself: none, or security updates without a restart.",
        examples=["security"],
    )
