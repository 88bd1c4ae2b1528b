"""The check that swap of the booted node is on and discards freed pages on the SSD."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features.boot_check import CheckResult, Expected, Facts
from builder.features.keys import keys_of
from builder.features.swap.settings import SwapKeys

_DISCARDS_PAGES = re.compile(r"Dc(FS)?$")
"""The flags in the kernel's message for swap with discard=pages (mm/swapfile.c, swapon): D for discard, c for page by
page, and before Linux 6.6 FS for frontswap. /proc/swaps and swapon(8) do not show it."""


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    if keys_of(want.settings, SwapKeys).swap is not None:
        said = facts["swap-kernel"].strip()
        on = "/swapfile" in facts["swaps"] and facts["swapfile"].endswith(" 600")
        expected = "/swapfile, mode 600, switched on with discard=pages (flags end in Dc)"
        yield CheckResult("swap", on and bool(_DISCARDS_PAGES.search(said)), said or "no swap", expected)
