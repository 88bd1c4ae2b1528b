"""The Raspberry Pis that images are for, and what is asked of processor and SSD."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from builder.model.strict import Strict
from builder.model.values import GIB, MIB, Calendar, Share, Size, UsbId

Pi = Literal["pi4-1g", "pi4-2g", "pi4-4g", "pi4-8g", "pi400"]

MEMORY: dict[Pi, int] = {"pi4-1g": GIB, "pi4-2g": 2 * GIB, "pi4-4g": 4 * GIB, "pi4-8g": 8 * GIB, "pi400": 4 * GIB}
"""Bytes, nominal: the firmware keeps some of them for itself."""


class Overclock(Strict):
    arm_freq: int = Field(ge=600, le=2500)
    over_voltage: int = Field(ge=-16, le=8)
    force_turbo: Literal["sets-the-warranty-bit"] | None = None

    @model_validator(mode="after")
    def _warranty(self) -> Overclock:
        if self.over_voltage > 6 and self.force_turbo is None:
            raise ValueError(
                f"over_voltage {self.over_voltage} works only with force_turbo, which sets the warranty bit for good; "
                "use 6 or less, or say force_turbo: sets-the-warranty-bit"
            )
        return self


class Swap(Strict):
    size: Size = Field(ge=64 * MIB)
    reserve: Share | Size = Field(description="room left for the guest's disk: a share of the SSD, or a size")


class Trim(Strict):
    calendar: Calendar
    enclosures: tuple[UsbId, ...] = Field(strict=False)
