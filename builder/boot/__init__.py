"""Boot an image on an emulated Pi: to look at (`console`), or to prove that it is what its plan says (`check`)."""

from builder.boot.check import CUTS, check, check_power_cut
from builder.boot.checks import CheckResult
from builder.boot.console import console

__all__ = ["CUTS", "CheckResult", "check", "check_power_cut", "console"]
