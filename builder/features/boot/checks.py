"""The check that the kernel of the booted node got the node's own words."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.boot.settings import BootKeys, quirks_word
from builder.features.boot_check import CheckResult, Expected, Facts, equal
from builder.features.keys import keys_of


def checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    boot = keys_of(want.settings, BootKeys).boot
    if boot is not None:
        words = (*boot.kernel_words, *([quirks_word(boot.usb_quirks)] if boot.usb_quirks else []))
        given = facts["kernel-words"].split()
        yield equal("own kernel words", " ".join(word for word in words if word in given), " ".join(words))
