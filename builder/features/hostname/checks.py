"""The check that the booted node has its own name."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, equal


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    yield equal("hostname", facts["hostname"], want.settings.hostname)
