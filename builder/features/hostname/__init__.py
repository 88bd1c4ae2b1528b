"""The node's name."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.hostname.checks import checks
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("hostname", key="hostname", scope="node")


FEATURE = Feature(name="hostname", order=20, package=__name__, edits=edits, checks=checks)
