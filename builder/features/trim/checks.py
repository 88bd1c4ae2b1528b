"""The check that the next TRIM of the booted node is soon."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, number

TRIM_WITHIN = 120  # seconds


def checks(facts: Facts, _want: Expected) -> Iterator[CheckResult]:
    seconds = number(facts["trim-next"]) - number(facts["now"])
    # A few seconds ago is good too: the timer ran while the probe was running.
    passed = -5 <= seconds <= TRIM_WITHIN
    yield CheckResult("fstrim.timer", passed, f"next in {seconds} s", f"within {TRIM_WITHIN} s")
