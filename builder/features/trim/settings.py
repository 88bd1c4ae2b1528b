"""The keys for TRIM."""

from __future__ import annotations

from pydantic import Field

from builder.model.strict import Strict
from builder.model.values import Calendar, UsbId


class Trim(Strict):
    calendar: Calendar = Field(
        description="How often the SSD is trimmed: a calendar of systemd.time(7).",
        examples=["*:0/2", "daily"],
    )
    enclosures: tuple[UsbId, ...] = Field(
        strict=False,
        description="USB ids (lsusb) of enclosures that trim reliably. A wrong id loses data.",
        examples=[["152d:0578"]],
    )


class TrimKeys(Strict):
    trim: Trim = Field(
        description="When the SSD is trimmed, and through which USB enclosures.",
        examples=[{"calendar": "*:0/2", "enclosures": []}],
    )
