"""Databases of package managers: what is installed, where from, or what is wrong with the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.host.run import run
from builder.publish.packages import apk_packages, dpkg_packages

DPKG = """\
Package: libstdc++6
Status: install ok installed
Maintainer: Debian GCC Maintainers <debian-gcc@lists.debian.org>
Architecture: arm64
Multi-Arch: same
Source: gcc-14 (14.2.0-19)
Version: 14.2.0-19+b1
Conffiles:
 /etc/x 0123
Description: GNU Standard C++ Library v3
 This package contains an additional runtime library.
 .
 Version: 99 of nothing
Homepage: http://gcc.gnu.org/

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1

Package: base-files
Status: hold ok installed
Architecture: arm64
Version: 1:13.8
"""
APK = """\
C:Q1abcdefghijklmnopqrstuvwxyz0=
P:musl
V:1.2.5-r10
A:x86_64
S:411111
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Somebody <somebody@example.org>
D:so:libc
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755

P:busybox-binsh
V:1.37.0-r19
A:x86_64
L:GPL-2.0-only AND custom
o:busybox

P:libstdc++
V:14.2.0-r6
A:x86_64
L:GPL-3.0-or-later WITH GCC-exception-3.1
o:gcc
"""
OS_RELEASE = 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.22.1\n# ID=other\n'


def test_what_dpkg_has_is_what_is_there_with_its_source() -> None:
    assert [(one.name, one.version, one.source, one.source_version) for one in dpkg_packages(DPKG, "status")] == [
        ("base-files", "1:13.8", "base-files", "1:13.8"),
        ("libstdc++6", "14.2.0-19+b1", "gcc-14", "14.2.0-19"),
    ]


ODD = """\
package: line-breaks
Status: install ok installed
Maintainer: a <a@example.org>
architecture: arm64
Version: 1
Description: a\u2028Version: 9 b\fVersion: 8\x85Source: c\x1cPackage: d

Package: blank-in-source
Status: install ok installed
Maintainer: a <a@example.org>
Architecture: arm64
Source: some thing
Version: 2:1-1
Description: x

Package: no-source
Status: install ok unpacked
Maintainer: a <a@example.org>
Architecture: all
Source: other (3:4~rc1-5)
Version: 5
Description: x
"""


@pytest.mark.parametrize("status", [DPKG, ODD])
def test_a_status_file_is_what_dpkg_itself_reads(status: str, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(status)
    form = "${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n"
    listed = run(["dpkg-query", f"--admindir={tmp_path}", "--show", f"--showformat={form}"]).text.splitlines()
    there = [line.partition(" ")[2] for line in listed if not line.startswith("config-files")]
    found = dpkg_packages(status, "status")
    told = [(one.name, one.version, one.architecture, one.source, one.source_version) for one in found]
    assert sorted(there) == sorted(" ".join(one) for one in told)
    assert len(told) >= 2


def test_what_apk_has_comes_with_its_origin_and_licence() -> None:
    found = [(one.name, one.version, one.architecture, one.source, one.licence) for one in apk_packages(APK, "db")]
    assert found == [
        ("busybox-binsh", "1.37.0-r19", "x86_64", "busybox", "GPL-2.0-only AND custom"),
        ("libstdc++", "14.2.0-r6", "x86_64", "gcc", "GPL-3.0-or-later WITH GCC-exception-3.1"),
        ("musl", "1.2.5-r10", "x86_64", "musl", "MIT"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing is installed"),
        (APK.replace("\n\n", "\n"), "has no Package"),
        ("Package: x\nStatus: install ok installed\nVersion: 1\n", "x has no Architecture"),
        (
            "Package: x\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nSource: a (1 2)\n",
            "x: Invalid version string '1 2'",
        ),
        ("Package: x\nStatus: i ok installed\nVersion: 1\nArchitecture: all\n\nno field\n", "an entry has no Package"),
        (
            "".join(f"Package: x\nStatus: i ok installed\nVersion: {n}\nArchitecture: all\n\n" for n in "12"),
            "x is there twice, 1 and 2",
        ),
    ],
)
def test_a_damaged_database_is_named(text: str, said: str) -> None:
    with pytest.raises(BuildError, match=r"^status: is no database of packages: ") as caught:
        dpkg_packages(text, "status")
    assert said in str(caught.value)
