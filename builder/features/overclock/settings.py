"""The keys for clock and voltage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from builder.model.strict import Strict


class Overclock(Strict):
    arm_freq: int = Field(ge=600, le=2500, description="Clock of the processor in MHz.", examples=[2000])
    over_voltage: int = Field(
        ge=-16, le=8, description="Core voltage, in steps of 25 mV from the default.", examples=[6]
    )
    force_turbo: Literal["sets-the-warranty-bit"] | None = Field(
        default=None,
        description="Keeps the full clock at all times. With over_voltage it sets the Pi's warranty bit for good.",
        examples=["sets-the-warranty-bit"],
    )

    @model_validator(mode="after")
    def _warranty(self) -> Overclock:
        if self.over_voltage > 6 and self.force_turbo is None:
            raise ValueError(
                f"over_voltage {self.over_voltage} works only with force_turbo, which sets the warranty bit for good; "
                "use 6 or less, or say force_turbo: sets-the-warranty-bit"
            )
        return self


class OverclockKeys(Strict):
    overclock: Overclock | None = Field(
        description="Clock and voltage of a Pi 4; null keeps the firmware's own.",
        examples=[{"arm_freq": 2000, "over_voltage": 6}, None],
    )
