"""The kinds of files in profiles/, each with the model of its keys."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from builder.features import NODE_KEYS, NODE_SETTINGS
from builder.model.cluster import Cluster
from builder.model.settings import Base, Guest
from builder.model.strict import Strict

_FOLLOWING = frozenset({"hostname", "guest_hostname", "role", "base"})
"""Keys of a node that are optional: without them its name, the command line or cluster.yaml decides."""


def _field(name: str) -> FieldInfo:
    field = copy(NODE_SETTINGS.model_fields[name])
    if name in _FOLLOWING:
        field.default = None
    return field


_HINTS = get_type_hints(NODE_SETTINGS, include_extras=True)
_FIELDS: dict[str, Any] = {
    name: (_HINTS[name], _field(name)) for name in NODE_SETTINGS.model_fields if name in NODE_KEYS
}
NodeFile = create_model("NodeFile", __base__=Strict, **_FIELDS)
"""The keys of one layer: a role's, a preset's or a node's file. A layer may leave out any of them."""


class BaseFile(Base):
    """A file of profiles/bases/."""

    defaults: NodeFile = Field(  # type: ignore[valid-type]
        default={},
        validate_default=False,
        description="Keys of a role for each node on this base. The node's role, its preset and its own file win over "
        "them.",
        examples=[{"guest": "alpine"}],
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of files. `files` names their place. With `is_layer`, several files of this kind are merged, so each may
    leave out any key."""

    name: str
    files: str
    model: type[Strict]
    sentence: str
    is_layer: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("cluster", "profiles/cluster.yaml", Cluster, "The settings that all nodes share."),
        Kind(
            "node",
            "profiles/nodes/, profiles/roles/, profiles/presets/",
            NodeFile,
            "One node. A preset wins over a role, and a node's own file over both, mapping by mapping. A required key "
            "is in one of them. The keys `role` and `base` are for profiles/nodes/ alone.",
            is_layer=True,
        ),
        Kind("base", "profiles/bases/", BaseFile, "A system for the Pi, on which roles build."),
        Kind("guest", "profiles/guests/", Guest, "An x86_64 system that a node runs in a virtual machine."),
    )
}
"""By name, in the order of the page."""
