"""The check of the booted node's report."""

from __future__ import annotations

import json
from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """The report on the boot volume is JSON, names this node, and has no failed step."""
    try:
        report = json.loads(facts["report"])
        node, steps = report["node"], {name: step["status"] for name, step in report["steps"].items()}
    except (ValueError, KeyError, TypeError):
        yield CheckResult("report", False, facts["report"] or "none", "JSON")
        return
    good = node == want.settings.name and steps and "failed" not in steps.values()
    found = ", ".join(f"{name} {status}" for name, status in steps.items())
    yield CheckResult("report", bool(good), f"{node}: {found}", f"{want.settings.name}, and nothing failed")
