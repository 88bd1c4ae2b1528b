"""The small checks: each looks at the facts of a probe and says what it found. Pure.

The checks of one feature lie in its folder (builder/features/NAME/checks.py). Here are those of the system as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features import FEATURES
from builder.features.boot_check import CheckResult, Expected, Facts, equal, number
from builder.model.image_path import usr_merged


def system_checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """The checks that every boot must pass, with or without the guest: the system's and every feature's."""
    yield equal("no failed units", facts["failed"] or facts["system"], "running")
    for feature in FEATURES:
        yield from feature.checks(facts, want)


def booted_without_cable(facts: Facts, plugged: float) -> CheckResult:
    """`plugged`: seconds after power-on at which the cable was put in; multi-user was there before."""
    reached = number(facts["multi-user"]) / 1e6
    found = f"multi-user after {reached:.0f} s, the cable put in after {plugged:.0f} s"
    return CheckResult("boots with the cable pulled", 0 < reached < plugged, found, "multi-user before the cable")


def unchanged(before: Facts, after: Facts) -> Iterator[CheckResult]:
    """A later boot makes nothing anew: the lasting facts of every feature are the same."""
    for name in (name for feature in FEATURES for name in feature.lasting):
        same = after[name] == before[name]
        yield CheckResult(f"{name} since the first boot", same, "unchanged" if same else after[name], before[name])


def packages_clean(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """dpkg finds nothing half installed. It finds no file changed but by our edits, and by an image's publisher."""
    yield equal("dpkg --audit", facts["dpkg-audit"], "")
    foreign = [
        line
        for line in facts["dpkg-verify"].splitlines()
        if _verified_path(line) not in want.edited and not (want.imported and _is_changed_conffile(line))
    ]
    yield equal("dpkg --verify", "\n".join(foreign), "")


def _is_changed_conffile(line: str) -> bool:
    """dpkg(1), --verify-format: nine letters, a space, and `c` for a conffile. A line of a lost file says `missing`."""
    return re.match(r"[?.5]{9} c /", line) is not None


def _verified_path(line: str) -> str:
    """`??5?????? c /etc/x` or `missing     /lib/x`: the path is the rest from the first slash on, usr-merged."""
    path = line[line.index("/") :] if "/" in line else line
    return usr_merged(path)
