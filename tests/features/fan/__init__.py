"""A feature as a contributor would write it: one folder, which tests copy into builder/features/."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from builder.features.context import Context
from builder.features.feature import Feature, Wish
from builder.model.strict import Strict


class FanKeys(Strict):
    fan: int | None = Field(
        default=None,
        exclude_if=lambda fan: fan is None,
        description="Temperature in degrees Celsius at which the fan starts.",
        examples=[60],
    )


def edits(context: Context) -> Iterator[Wish]:
    fan = context.keys(FanKeys).fan
    if fan is not None:
        yield context.config_txt([f"dtoverlay=gpio-fan,temp={fan}000"], key="fan")


FEATURE = Feature(name="cooler", order=105, package=__name__, edits=edits, settings=FanKeys)
