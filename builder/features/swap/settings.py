"""The keys for swap."""

from __future__ import annotations

from pydantic import Field

from builder.limits import MIB
from builder.model.strict import Strict
from builder.model.values import Share, Size


class Swap(Strict):
    size: Size = Field(ge=64 * MIB, description="Size of the swap file; a smaller SSD gets less.", examples=["64GiB"])
    reserve: Share | Size = Field(
        description="Room that swap leaves for the guest's disk: a share of the SSD, or a size.",
        examples=["33%", "32GiB"],
    )


class SwapKeys(Strict):
    swap: Swap | None = Field(
        description="The swap file that the first boot makes; null makes none.",
        examples=[{"size": "64GiB", "reserve": "33%"}, None],
    )
