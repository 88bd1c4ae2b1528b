"""Boot an image on an emulated Pi: to look at (`console`), or to prove that it is what its plan says (`check`)."""

from builder.boot.check import CUTS, check, check_power_cut
from builder.boot.console import console
from builder.boot.reach import Access
from builder.features.boot_check import CheckResult

__all__ = ["CUTS", "Access", "CheckResult", "check", "check_power_cut", "console"]
