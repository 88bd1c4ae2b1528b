"""The facts that a booted system must show, derived from the plan in its manifest."""

from __future__ import annotations

from builder.boot.machine import PORT_MAC
from builder.features import NODE_SETTINGS
from builder.features.boot_check import Expected
from builder.model.identity import Identity
from builder.model.manifest import Manifest


def expected_of(manifest: Manifest) -> Expected:
    plan = manifest.plan
    return Expected(
        settings=NODE_SETTINGS.model_validate(plan["settings"]),
        identity=Identity(**plan["identity"]),
        boot_mount=plan["base"]["boot"]["mount"],
        disk_id=manifest.layout.disk_id,
        edited=frozenset(file.path for file in manifest.files if file.volume == "root"),
        imported=plan["base"]["source"]["kind"] == "image",
        guest=plan["guest"] is not None,
        port_mac=PORT_MAC,
    )
