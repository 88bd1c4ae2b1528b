"""A user's own lines of config.txt, own words of the kernel's command line, and quirks of USB enclosures.

Quirks are given as kernel words. The initrd loads usb-storage and uas, because the root disk is behind them, and a
role's file in /etc/modprobe.d is not in the initrd.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features.boot.checks import checks
from builder.features.boot.settings import BootKeys, quirks_word
from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.features.firmware import sections
from builder.model.patches import KernelWords


def edits(context: Context) -> Iterator[Wish]:
    """Each edit has the scope `node`: a node may have an enclosure or a fan that other nodes of its role lack."""
    boot = context.keys(BootKeys).boot
    if boot is None:
        return
    if any(boot.config.values()):
        yield context.config_txt(sections(boot.config), key="boot.config", scope="node")
    if boot.kernel_words:
        # Removed and added again, they come after the base's words: of two words for one setting the last one counts.
        words = KernelWords(add=boot.kernel_words, remove=tuple(map(re.escape, boot.kernel_words)))
        yield context.kernel_words(words, key="boot.kernel_words", scope="node")
    if boot.usb_quirks:
        word = KernelWords(add=(quirks_word(boot.usb_quirks),), remove=("usb[-_]storage[.]quirks=.*",))
        yield context.kernel_words(word, key="boot.usb_quirks", scope="node")


FEATURE = Feature(name="boot", order=260, package=__name__, edits=edits, settings=BootKeys, checks=checks)
