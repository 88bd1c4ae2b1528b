"""The order for a bake: the message from the build to the process inside the sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from builder.model.identities import Identities


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeSpec:
    """All paths are absolute, and the same inside the sandbox.

    `removed`: names of packages of the lower layer that go before the others come.
    `lower`: directory with the layer to build on (root.tar, boot.tar), or None for a bootstrap. `accel`: directory with
    a tar of host programs, or None where nothing is foreign. `files`: text and mode, written before packages are
    configured, by absolute path in the tree. `commands`: run in the finished tree, one after the other.
    `identities`: files that identify a node. `out`: gets root.tar and, where `boot_mount` is given, boot.tar.
    """

    architecture: str
    epoch: int
    debs: tuple[str, ...]
    essential: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    lower: str | None = None
    accel: str | None = None
    boot_mount: str | None = None
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    commands: tuple[tuple[str, ...], ...] = ()
    identities: Identities = field(default_factory=Identities)
    out: str

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> BakeSpec:
        data = json.loads(path.read_text())
        for name in ("debs", "essential", "removed"):
            data[name] = tuple(data[name])
        data["files"] = {path: (text, mode) for path, (text, mode) in data["files"].items()}
        data["commands"] = tuple(tuple(command) for command in data["commands"])
        chosen = data.pop("identities")
        files = {path: (text, mode) for path, (text, mode) in chosen.pop("files").items()}
        return cls(**data, identities=Identities(**chosen, files=files))
