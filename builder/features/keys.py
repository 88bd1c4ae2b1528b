"""One feature's own keys of profiles, as a part of a node's whole settings."""

from __future__ import annotations

from typing import TypeVar

from builder.model.settings import NodeSettings
from builder.model.strict import Strict

Keys = TypeVar("Keys", bound=Strict)


def keys_of(settings: NodeSettings, kind: type[Keys]) -> Keys:
    """The settings as `kind`, the model of a feature's own keys. Whole settings are an instance of every such model.

    Raises TypeError for settings that were not parsed as builder.features.NODE_SETTINGS.
    """
    if not isinstance(settings, kind):
        raise TypeError(f"{type(settings).__name__} has none of the keys of {kind.__module__}")
    return settings
