"""Packages, as a role or node asks for them."""

from __future__ import annotations

from pydantic import Field

from builder.model.strict import Strict
from builder.model.values import Package


class PackagesKeys(Strict):
    packages: dict[Package, bool] = Field(
        description="Debian packages by name: true bakes one in, false takes out one that another file asks for.",
        examples=[{"vim": True, "nmon": False}],
    )
