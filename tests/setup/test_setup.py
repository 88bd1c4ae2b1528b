"""The set-up: which packages it would install on which system, and that it is quick when there is nothing to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder.doctor import ROOTLESS, TOOLS

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "builder/setup/setup.sh"
LIST = (SETUP.parent / "packages.txt").read_text().splitlines()
BOOKWORM, TRIXIE = "bookworm", "trixie"


def missing(root: Path, *words: str) -> list[str]:
    """Packages that set-up would install, were `root` the system."""
    answer = subprocess.run(
        [SETUP, "--missing", *words],
        env={**os.environ, "DPKG_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split()


def system(root: Path, codename: str, **installed: str) -> Path:
    """A root folder with so much of a system as dpkg-query and the set-up look at."""
    stanzas = (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\nMaintainer: x\n"
        f"Description: x\n"
        for name, version in installed.items()
    )
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text(f"ID=debian\nVERSION_CODENAME={codename}\n")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text("\n".join(stanzas))
    return root


def all_of(packages: list[str]) -> dict[str, str]:
    return {name.partition("/")[0]: "999" for name in packages}


def test_every_line_has_three_columns_and_is_there_once() -> None:
    lines = [tuple(line.split()) for line in LIST if line and not line.startswith("#")]
    assert all(len(columns) == 3 for columns in lines)
    assert len(set(lines)) == len(lines)


def test_debian_12_takes_e2fsprogs_from_backports(tmp_path: Path) -> None:
    lacking = missing(system(tmp_path, BOOKWORM))
    assert {"e2fsprogs/bookworm-backports", "qemu-user-static", "libarchive13"} <= set(lacking)
    assert not {"e2fsprogs", "qemu-user", "libarchive13t64", "guestfs-tools"} & set(lacking)


def test_debian_13_has_all_in_its_own_archive(tmp_path: Path) -> None:
    lacking = missing(system(tmp_path, TRIXIE))
    assert {"e2fsprogs", "qemu-user-binfmt", "libarchive13t64"} <= set(lacking)
    assert not [name for name in lacking if "/" in name]


@pytest.mark.parametrize(("version", "wanted"), [("1.47.0-2", True), ("1.47.2-1~bpo12+1", False)])
def test_a_version_that_is_too_old_is_missing(version: str, wanted: bool, tmp_path: Path) -> None:
    lacking = missing(system(tmp_path, BOOKWORM, e2fsprogs=version))
    assert ("e2fsprogs/bookworm-backports" in lacking) == wanted


def test_words_select_more(tmp_path: Path) -> None:
    more = set(missing(system(tmp_path, TRIXIE), "bench")) - set(missing(tmp_path))
    assert more == {"guestfs-tools", "guestfish"}


def test_a_container_gets_all_that_doctor_looks_for_and_no_checkers(tmp_path: Path) -> None:
    lacking = set(missing(system(tmp_path, TRIXIE), "container"))
    of_debian_itself = {"apt", "coreutils", "dpkg", "mount", "util-linux"}
    assert {tool.package for tool in (*TOOLS, ROOTLESS)} - of_debian_itself <= lacking
    assert {"minisign", "gpg", "gpg-agent", "python3-venv"} <= lacking
    assert not {"shellcheck", "cloud-init", "bmap-tools", "diffoscope-minimal"} & lacking


def test_a_machine_with_a_kernel_gets_no_second_one(tmp_path: Path) -> None:
    root = system(tmp_path, TRIXIE)
    assert [name for name in missing(root) if name.startswith("linux-image")]
    (root / "boot").mkdir()
    (root / "boot/vmlinuz-6.12.1-amd64").touch()
    (root / "lib/modules/6.12.1-amd64").mkdir(parents=True)
    assert not [name for name in missing(root) if name.startswith("linux-image")]


@pytest.mark.parametrize("had_it", [False, True])
@pytest.mark.parametrize(
    ("package", "off"),
    [
        ("cloud-init", "etc/cloud/cloud-init.disabled"),
        ("network-manager", "etc/systemd/system/NetworkManager.service"),
    ],
)
def test_what_only_a_checker_needs_is_started_only_where_it_was(
    package: str, off: str, had_it: bool, tmp_path: Path
) -> None:
    packages = all_of(missing(system(tmp_path / "empty", TRIXIE)))
    if not had_it:
        del packages[package]
    root = system(tmp_path / "root", TRIXIE, **packages)
    for name, script in (("apt-get", ":"), ("sudo", 'exec "$@"')):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    environment = {**os.environ, "DPKG_ROOT": str(root), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    subprocess.run([SETUP], env=environment, check=True)
    assert os.path.lexists(root / off) == (not had_it)


def test_nothing_is_missing_in_no_time(tmp_path: Path) -> None:
    everything = all_of(missing(system(tmp_path / "empty", TRIXIE)))
    complete = system(tmp_path / "complete", TRIXIE, **everything)
    before = os.times()
    assert missing(complete) == []
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 1  # of processor time, which other work on the machine does not stretch


def test_make_says_what_it_can() -> None:
    shown = subprocess.check_output(["make", "-C", ROOT, "--no-print-directory"], text=True)
    targets = {line.split()[1] for line in shown.splitlines()}
    assert targets >= {"image", "test", "test-fast", "soak", "bench", "boot", "lint", "golden", "clean", "help"}
