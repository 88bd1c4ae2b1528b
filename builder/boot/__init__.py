"""Boot an image on an emulated Pi, with a console (`console`) or to check that it matches its plan (`check`)."""

from builder.boot.check import CUTS, check, check_power_cut
from builder.boot.console import console
from builder.boot.reach import Access
from builder.features.boot_check import CheckResult

__all__ = ["CUTS", "Access", "CheckResult", "check", "check_power_cut", "console"]
