"""The check that systemd on the booted node has the watchdog's timeout. The emulated Pi has no watchdog to feed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, equal
from builder.features.keys import keys_of
from builder.features.watchdog.settings import WatchdogKeys, seconds_of


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    watchdog = keys_of(want.settings, WatchdogKeys).watchdog
    if watchdog is not None:
        yield equal("watchdog", _seconds(facts["watchdog"]), seconds_of(watchdog))


def _seconds(shown: str) -> int | str:
    """Seconds of a time as systemctl shows it (`15s`, `1min 30s`, `0`). Any other text is returned unchanged."""
    match = re.fullmatch(r"0|(?:(\d+)min)? ?(?:(\d+)s)?", shown)
    return int(match[1] or 0) * 60 + int(match[2] or 0) if match and shown else shown
