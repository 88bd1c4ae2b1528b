"""The machines of a project's nodes, with or without a file of their own."""

from __future__ import annotations

from collections.abc import Sequence

from builder.errors import ConfigurationError
from builder.export.machines import Machine, machines_of
from builder.project import Project


def fleet(project: Project, nodes: Sequence[str], role: str | None) -> list[Machine]:
    """The machines of `nodes`, or of all nodes in profiles/nodes/ if `nodes` is empty. `role` is for nodes without a
    role in the profiles. Raises ConfigurationError, also when two machines would share a name or an address."""
    names = tuple(dict.fromkeys(nodes)) or project.names("nodes")
    if not names:
        hint = "name nodes: pimu-build export FORMAT NODE... --role ROLE"
        raise ConfigurationError("there are no nodes", where="profiles/nodes", hint=hint)
    resolved = [project.settings(name, project.role_for(name, role)) for name in names]
    identities = project.identities(resolved)
    return [machine for node in resolved for machine in machines_of(node.settings, identities[node.settings.name])]
