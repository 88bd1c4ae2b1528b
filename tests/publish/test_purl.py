"""Package URLs, by the vendor of each package."""

from __future__ import annotations

import pytest

from builder.model.lock import Deb
from builder.publish.packages import Package, System, system_of
from builder.publish.purl import k3s_purl, package_purl
from tests.publish.test_packages import APK, OS_RELEASE

DEBIAN = System("deb", "debian", "13", ())


def package(name: str = "nano", version: str = "8.4-1", maintainer: str = "") -> Package:
    return Package(name, version, "arm64", name, version, maintainer)


def deb(archive: str) -> Deb:
    return Deb("nano", "8.4-1", "arm64", archive, "nano.deb", "a" * 64, 5)


@pytest.mark.parametrize(
    ("version", "maintainer", "locked", "vendor"),
    [
        ("8.4-1", "", None, "debian"),
        ("8.4-1", "", "http://deb.debian.org/debian", "debian"),
        ("8.4-1", "", "https://archive.raspberrypi.com/debian", "raspberrypi"),
        ("8.4-1", "", "http://archive.raspberrypi.org/debian", "raspberrypi"),
        ("8.4-1", "", "http://raspbian.raspberrypi.com/raspbian", "raspbian"),
        ("8.4-1+rpt2", "", "http://deb.debian.org/debian", "debian"),
        ("1:6.12.25-1+rpt1", "", None, "raspberrypi"),
        ("1:1.20250430-1~rpt1", "", "http://mirror.example/pi", "raspberrypi"),
        ("5.2-2+rpi1", "", None, "raspbian"),
        ("28.2-1", "Serge Schneider <serge@raspberrypi.com>", None, "raspberrypi"),
        ("28.2-1", "A <team@raspberrypi.com.example>", None, "debian"),
    ],
)
def test_whose_package_it_is(version: str, maintainer: str, locked: str | None, vendor: str) -> None:
    known = deb(locked) if locked else None
    assert package_purl(DEBIAN, package("nano", version, maintainer), known).split("/")[1] == vendor


def test_a_purl_has_its_characters_encoded() -> None:
    one = Package("libstdc++6", "1:14.2.0-19+b1~x", "arm64", "gcc-14", "1")
    assert (
        package_purl(DEBIAN, one, None)
        == "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1~x?arch=arm64&distro=debian-13"
    )
    alpine = system_of("apk", APK, OS_RELEASE, "db")
    assert [
        package_purl(alpine, one, None).removesuffix("?arch=x86_64&distro=alpine-3.22.1") for one in alpine.packages
    ] == [
        "pkg:apk/alpine/busybox-binsh@1.37.0-r19",
        "pkg:apk/alpine/libstdc%2B%2B@14.2.0-r6",
        "pkg:apk/alpine/musl@1.2.5-r10",
    ]
    assert k3s_purl("v1.36.5+k3s1") == "pkg:github/k3s-io/k3s@v1.36.5%2Bk3s1"


def test_no_word_of_an_image_becomes_a_part_of_its_own() -> None:
    one = Package("x", "1?arch=a#b", "arm64&distro=other", "x", "1")
    assert package_purl(System("deb", "a?b#c", "1&2", ()), one, None) == (
        "pkg:deb/a%3Fb%23c/x@1%3Farch%3Da%23b?arch=arm64%26distro%3Dother&distro=a%3Fb%23c-1%262"
    )


def test_an_apk_has_no_capitals() -> None:
    """purl-spec, the type apk: names are the same in any case, and written small."""
    assert package_purl(System("apk", "alpine", "", ()), Package("R", "4.4-r0", "x86_64", "R", "4.4-r0"), None) == (
        "pkg:apk/alpine/r@4.4-r0?arch=x86_64&distro=alpine"
    )
