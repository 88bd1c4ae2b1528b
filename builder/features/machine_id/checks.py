"""The check that the booted node has made its machine-id."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts


def checks(facts: Facts, _want: Expected) -> Iterator[CheckResult]:
    found = facts["machine-id"]
    yield CheckResult("machine-id", bool(re.fullmatch("[0-9a-f]{32}", found)), found or "empty", "32 hex digits")
