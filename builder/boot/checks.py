"""Checks of the system as a whole. Each is a pure function from the facts of a probe to results.

The checks of a feature are in its folder (builder/features/NAME/checks.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.features import FEATURES
from builder.features.boot_check import CheckResult, Expected, Facts, equal, number
from builder.model.image_path import usr_merged


def system_checks(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """The checks that every boot must pass, with or without the guest: no unit failed, and every feature's checks."""
    yield equal("no failed units", facts["failed"] or facts["system"], "running")
    for feature in FEATURES:
        yield from feature.checks(facts, want)


def booted_without_cable(facts: Facts, plugged: float) -> CheckResult:
    """multi-user.target was reached before the cable was put in, `plugged` seconds after power-on."""
    reached = number(facts["multi-user"]) / 1e6
    found = f"multi-user after {reached:.0f} s, the cable put in after {plugged:.0f} s"
    return CheckResult("boots with the cable pulled", 0 < reached < plugged, found, "multi-user before the cable")


def unchanged(before: Facts, after: Facts) -> Iterator[CheckResult]:
    """The lasting facts of every feature are the same after a later boot."""
    for name in (name for feature in FEATURES for name in feature.lasting):
        same = after[name] == before[name]
        yield CheckResult(f"{name} since the first boot", same, "unchanged" if same else after[name], before[name])


def packages_clean(facts: Facts, want: Expected) -> Iterator[CheckResult]:
    """dpkg finds no half-installed package. It finds no changed file except those that our edits change, and conffiles
    that the publisher of an image may have changed."""
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
