"""Variables of templates, as plain data only: a template can call no method of ours or of a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from pydantic import BaseModel

from builder.model.identity import Identity
from builder.model.k3s import K3sAgent, K3sCluster, K3sServer
from builder.template.strict import Plain

_DERIVED: dict[type, tuple[str, ...]] = {
    Identity: ("partuuid",),
    K3sAgent: ("label_words",),
    K3sServer: ("label_words", "disabled"),
    K3sCluster: ("server_name", "image_archives"),
}
"""Properties by type. A template gets them like fields."""


def plain(value: object) -> Plain:
    """The value as str, int, bool, list, dict with str keys, or None.

    A model becomes a dict of its fields and its properties in _DERIVED. Raises TypeError for any other type: think
    about a new type before a project's template gets it.
    """
    if value is None or type(value) in (str, int, bool):
        return value  # type: ignore[return-value]
    if isinstance(value, BaseModel):
        return _mapping(value, type(value).model_fields)
    if is_dataclass(value) and not isinstance(value, type):
        return _mapping(value, [field.name for field in fields(value)])
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {key: plain(item) for key, item in value.items()}
    raise TypeError(f"a template is not given a {type(value).__name__}")


def _mapping(value: object, names: Mapping[str, object] | list[str]) -> Plain:
    return {name: plain(getattr(value, name)) for name in (*names, *_DERIVED.get(type(value), ()))}
