"""Package URLs (purl-spec, PURL-SPECIFICATION and the types deb, apk and github)."""

from __future__ import annotations

import re

from builder.artifacts.packages import Package, System
from builder.model.lock import Deb

_ARCHIVES = (
    (re.compile(r"https?://(archive\.raspbian\.(org|com)|raspbian\.raspberrypi\.(org|com))/"), "raspbian"),
    (re.compile(r"https?://([a-z0-9-]+\.)*raspberrypi\.(org|com)/"), "raspberrypi"),
    (re.compile(r"https?://([a-z0-9-]+\.)*debian\.org/"), "debian"),
)
_REBUILDS = ((re.compile(r"[+~]rpt\d"), "raspberrypi"), (re.compile(r"\+rpi\d"), "raspbian"))
_OF_RASPBERRY_PI = re.compile(r"@raspberrypi\.(org|com)>")


def package_purl(system: System, package: Package, deb: Deb | None) -> str:
    """`deb` is what the lock knows of it. `distro` is os-release's ID and VERSION_ID, as scanners expect it."""
    distro = "-".join(filter(None, (system.name, system.version)))
    vendor = vendor_of(system, package, deb)
    place = f"pkg:{system.kind}/{vendor}/{quoted(package.name)}@{quoted(package.version)}"
    return f"{place}?arch={package.architecture}" + (f"&distro={quoted(distro)}" if distro else "")


def vendor_of(system: System, package: Package, deb: Deb | None) -> str:
    """Whose package it is, which dpkg does not keep: Raspberry Pi OS is Debian by its os-release, and a third of what
    matters in it is not Debian's.

    The archive that the lock names says it; else what Raspberry Pi (+rpt) and Raspbian (+rpi) add to versions; else the
    maintainer's address; else it is the system's own.
    """
    if system.kind == "apk":
        return "alpine"
    if deb is not None:
        known = [vendor for pattern, vendor in _ARCHIVES if pattern.match(f"{deb.archive}/")]
        if known:
            return known[0]
    rebuilt = [vendor for pattern, vendor in _REBUILDS if pattern.search(package.version)]
    if rebuilt:
        return rebuilt[0]
    return "raspberrypi" if _OF_RASPBERRY_PI.search(package.maintainer) else system.name or "debian"


def quoted(text: str) -> str:
    """Percent-encoded, but for what may stand in a component as it is."""
    return re.sub(rb"[^A-Za-z0-9.\-_~:]", lambda found: b"%%%02X" % ord(found[0]), text.encode()).decode()
