"""The key for the hardware watchdog."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from builder.model.strict import Strict

SHORTEST, LONGEST = 5, 600
"""Seconds. A node with a swapping guest answers slowly: a shorter time than SHORTEST would restart a healthy node."""

_UNITS = {"s": 1, "min": 60}
_TIME = re.compile(r"([1-9]\d{0,3})(s|min)")


def seconds_of(watchdog: str) -> int:
    """Seconds of a time such as `15s` or `2min`; 0 for `off`."""
    match = _TIME.fullmatch(watchdog)
    return int(match[1]) * _UNITS[match[2]] if match else 0


def check_time(value: object) -> object:
    if not isinstance(value, str) or value == "off":
        return value
    if not _TIME.fullmatch(value):
        raise ValueError("is not off or a time such as 15s or 2min")
    if not SHORTEST <= seconds_of(value) <= LONGEST:
        raise ValueError(f"is {value}, and a watchdog waits {SHORTEST}s to {LONGEST // 60}min")
    return value


class WatchdogKeys(Strict):
    watchdog: Annotated[str, BeforeValidator(check_time)] | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Time after which the Pi's hardware watchdog restarts a Pi that hangs, or off. "
        "Without it the base's own setting stays.",
        examples=["15s", "off"],
    )
