"""One folder for each thing that is baked in. A feature reads settings and facts of the base and yields edits. It
decides, and touches nothing.

A folder of this package that has a FEATURE is a feature: its edits, its keys in profiles, its checks of a booted Pi
and its page (README.md). The files that it puts on the Pi lie in overlays/features/. A new feature needs no other line.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import cast

from pydantic import create_model

from builder.features.feature import Feature
from builder.model.settings import NodeSettings

__all__ = ["CLUSTER_KEYS", "FEATURES", "NODE_KEYS", "NODE_SETTINGS", "ROLE_KEYS", "Feature"]


def _found() -> Iterator[Feature]:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        if module.ispkg:
            feature = importlib.import_module(module.name).FEATURE
            assert isinstance(feature, Feature)
            yield feature


FEATURES: tuple[Feature, ...] = tuple(sorted(_found(), key=lambda feature: (feature.order, feature.name)))
"""In order: where two features change one file, the earlier one goes first."""

NODE_SETTINGS = cast(
    type[NodeSettings],
    create_model(
        "NodeSettings",
        __doc__=NodeSettings.__doc__,
        __base__=(*(feature.settings for feature in FEATURES if feature.settings.model_fields), NodeSettings),
    ),
)
"""The schema of a node, resolved: NodeSettings with the keys of every feature. builder.features.keys reads those."""

CLUSTER_KEYS = frozenset({"cluster", "domain", "timezone", "locale", "user", "k3s_cluster"})
"""Keys of a resolved node that cluster.yaml alone gives."""
ROLE_KEYS = frozenset(NODE_SETTINGS.model_fields) - CLUSTER_KEYS - {"name", "role", "base"}
"""Keys of a file in profiles/roles/ or profiles/presets/, and of a base's `defaults`."""
NODE_KEYS = ROLE_KEYS | {"role", "base"}
"""Keys of a file in profiles/nodes/."""
