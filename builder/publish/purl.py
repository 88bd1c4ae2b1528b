"""Package URLs (purl-spec, PURL-SPECIFICATION and the types deb, apk and github)."""

from __future__ import annotations

import re

from packageurl import PackageURL

from builder.model.lock import Deb
from builder.publish.packages import Package, System

_ARCHIVES = (
    (re.compile(r"https?://(archive\.raspbian\.(org|com)|raspbian\.raspberrypi\.(org|com))/"), "raspbian"),
    (re.compile(r"https?://([a-z0-9-]+\.)*raspberrypi\.(org|com)/"), "raspberrypi"),
    (re.compile(r"https?://([a-z0-9-]+\.)*debian\.org/"), "debian"),
)
_REBUILDS = ((re.compile(r"[+~]rpt\d"), "raspberrypi"), (re.compile(r"\+rpi\d"), "raspbian"))
_ESCAPE = re.compile("%[0-9a-f]{2}", re.IGNORECASE)
_OF_RASPBERRY_PI = re.compile(r"@raspberrypi\.(org|com)>")


def package_purl(system: System, package: Package, deb: Deb | None) -> str:
    """`deb` is what the lock knows of it. `distro` is os-release's ID and VERSION_ID, as scanners expect it."""
    distro = "-".join(filter(None, (system.name, system.version)))
    vendor, qualifiers = vendor_of(system, package, deb), {"arch": package.architecture, "distro": distro}
    return _text(PackageURL(system.kind, vendor, package.name, package.version, qualifiers))


def k3s_purl(version: str) -> str:
    return _text(PackageURL("github", "k3s-io", "k3s", version))


def _text(purl: PackageURL) -> str:
    """The library writes an apk's `+` as %2b. Who compares texts expects %2B (RFC 3986, 2.1)."""
    return _ESCAPE.sub(lambda escape: escape[0].upper(), purl.to_string())


def vendor_of(system: System, package: Package, deb: Deb | None) -> str:
    """The vendor of a package, which dpkg does not keep: Raspberry Pi OS is Debian by its os-release, and a third of
    what matters in it is not Debian's.

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
