"""The inputs of a bake, as a message from the build to the process inside the sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from builder.model.identities import Identities


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeSpec:
    """The inputs of a bake. All paths are absolute, and the same inside the sandbox.

    `removed`: packages of the lower layer to remove before the new ones are unpacked. `lower`: directory of the layer
    below (root.tar, boot.tar), or None for a bootstrap. `accel`: directory with a tar of host programs, or None if the
    packages are for the host's architecture. `files`: text and mode by absolute path in the tree; they are written
    before packages are configured. `commands`: run one after the other in the finished tree. `identities`: choices
    about files that identify a node. `out`: directory for root.tar and, with `boot_mount`, boot.tar.
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
