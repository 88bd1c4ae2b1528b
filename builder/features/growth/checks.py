"""The check that the root filesystem of the booted node fills the disk."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, number
from builder.limits import MIB

SECTOR = 512  # bytes; Linux counts in these on every disk


def checks(facts: Facts, _want: Expected) -> Iterator[CheckResult]:
    """The partition ends less than 1 MiB before the disk, and the filesystem less than 1 MiB before the partition."""
    disk, start, sectors = (number(facts[name]) for name in ("disk-sectors", "root-start", "root-sectors"))
    blocks, _, block_size = facts["root-blocks"].partition(" ")
    behind = (disk - start - sectors) * SECTOR
    unused = sectors * SECTOR - number(blocks) * number(block_size)
    yield CheckResult(
        "root grown",
        0 <= behind < MIB and 0 <= unused < MIB,
        f"{behind} bytes behind the partition and {unused} behind the filesystem unused",
        "less than 1 MiB",
    )
