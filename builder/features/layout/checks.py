"""The check that the booted disk has the node's own id."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, equal


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    match = re.search(r"^label-id: (\S+)", facts["table"], re.MULTILINE)
    yield equal("disk id", match[1] if match else "", want.disk_id)
