"""The root filesystem of the booted node fills the disk."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts, number
from builder.limits import MIB

SECTOR = 512  # bytes, in which Linux counts whatever the disk


def checks(facts: Facts, _want: Expected) -> Iterator[CheckResult]:
    """Partition to the end of the disk, filesystem to the end of the partition, both to the MiB."""
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
