"""A role's or node's choice about private keys that packages make."""

from __future__ import annotations

from pydantic import Field

from builder.model.identities import Action, MadePath
from builder.model.strict import Strict


class IdentitiesKeys(Strict):
    identities: dict[MadePath, Action] = Field(
        default={},
        description="Private keys that packages make, by path, and what becomes of each.",
        examples=[{"/etc/ssl/private/ssl-cert-snakeoil.key": "remake"}],
    )
