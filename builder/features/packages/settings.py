"""The key for packages."""

from __future__ import annotations

from pydantic import Field

from builder.model.strict import Strict
from builder.model.values import Package


class PackagesKeys(Strict):
    packages: dict[Package, bool] = Field(
        description="Debian packages by name: true adds the package, false cancels a true in another file.",
        examples=[{"vim": True, "nmon": False}],
    )
