"""Features: each folder bakes one thing into an image. A feature reads settings and facts of the base, and yields
edits. It changes nothing itself.

A folder of this package with a FEATURE is a feature. The folder holds its edits, its keys in profiles, its checks of a
booted Pi and its page (README.md). Its files for the Pi are in overlays/features/. A new feature is registered nowhere
else.
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
"""Sorted by `order`: if two features change one file, the edits of the earlier feature are applied first."""

NODE_SETTINGS = cast(
    type[NodeSettings],
    create_model(
        "NodeSettings",
        __doc__=NodeSettings.__doc__,
        __base__=(*(feature.settings for feature in FEATURES if feature.settings.model_fields), NodeSettings),
    ),
)
"""The schema of a resolved node: NodeSettings with the keys of every feature. builder.features.keys reads these
keys."""

CLUSTER_KEYS = frozenset({"cluster", "domain", "timezone", "locale", "user", "k3s_cluster"})
"""Keys of a resolved node that only cluster.yaml may have."""
ROLE_KEYS = frozenset(NODE_SETTINGS.model_fields) - CLUSTER_KEYS - {"name", "role", "base"}
"""Keys of a file in profiles/roles/ or profiles/presets/, and of a base's `defaults`."""
NODE_KEYS = ROLE_KEYS | {"role", "base"}
"""Keys of a file in profiles/nodes/."""
