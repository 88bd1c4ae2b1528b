"""Swap. The base's own swap is switched off. The first boot makes a swap file. `swap: null` means no swap at all."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.swap.checks import checks
from builder.features.swap.settings import SwapKeys
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    match context.base.swap_manager:
        case "dphys-swapfile":
            yield from context.mask("dphys-swapfile.service", key="swap")
        case "rpi-swap":
            yield from context.overlay("swap-rpi-swap", key="swap")
    if context.keys(SwapKeys).swap is not None:
        yield from context.overlay("swap", key="swap.size")


FEATURE = Feature(
    name="swap", order=130, package=__name__, edits=edits, settings=SwapKeys, checks=checks, lasting=("swapfile",)
)
