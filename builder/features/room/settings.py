"""The keys for the model of the Pi and the size of its SSD."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from builder.limits import GIB
from builder.model.strict import Strict
from builder.model.values import Size

Pi = Literal["pi4-1g", "pi4-2g", "pi4-4g", "pi4-8g", "pi400"]

MEMORY: dict[Pi, int] = {"pi4-1g": GIB, "pi4-2g": 2 * GIB, "pi4-4g": 4 * GIB, "pi4-8g": 8 * GIB, "pi400": 4 * GIB}
"""Nominal bytes. The firmware keeps some of them for itself."""


class RoomKeys(Strict):
    pi: Pi | None = Field(
        default=None,
        description="Model of the Pi. Without it the plan does not check whether the guest's memory fits.",
        examples=["pi4-8g"],
    )
    ssd: Size | None = Field(
        default=None,
        ge=4 * GIB,
        description="Size of the SSD, as it is sold. Without it the plan does not check whether the guest's disk fits.",
        examples=["240GB"],
    )
