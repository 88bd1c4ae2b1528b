"""What a manifest's plan promises of the booted system."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.identity import Identity
from builder.model.manifest import Manifest
from builder.model.settings import NodeSettings, StaticAddress


@dataclass(frozen=True, slots=True)
class Expected:
    """`edited` are the paths of the root volume that dpkg may find changed."""

    settings: NodeSettings
    identity: Identity
    boot_mount: str
    disk_id: str
    edited: frozenset[str]
    guest: bool

    @property
    def address(self) -> StaticAddress | None:
        ipv4 = self.settings.bridge.ipv4
        return ipv4 if isinstance(ipv4, StaticAddress) else None


def expected_of(manifest: Manifest) -> Expected:
    plan = manifest.plan
    return Expected(
        settings=NodeSettings.model_validate(plan["settings"]),
        identity=Identity(**plan["identity"]),
        boot_mount=plan["base"]["boot"]["mount"],
        disk_id=manifest.layout.disk_id,
        edited=frozenset(file.path for file in manifest.files if file.volume == "root"),
        guest=plan["guest"] is not None,
    )
