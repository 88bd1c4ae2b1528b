"""The check that the booted node has made its ssh host keys."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, equal


def checks(facts: Facts, _want: Expected) -> Iterator[CheckResult]:
    yield equal("ssh host keys", len(facts["host-keys"].splitlines()), 3)
