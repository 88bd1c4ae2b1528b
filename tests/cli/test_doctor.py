"""The doctor tells what is there, what is not, and what to do about it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builder import doctor
from builder.cli import main, texts
from builder.doctor import TOOLS, Tool, examine
from builder.errors import MissingToolError
from builder.host import run, tools

PACKAGES = (Path(__file__).parents[2] / "builder/setup/packages.txt").read_text()


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, doctor.Finding]:
    folder = tmp_path_factory.mktemp("doctor")
    return {finding.name: finding for finding in examine(folder / "cache", folder / "output")}


def one(tool: Tool) -> doctor.Finding:
    return doctor._tool(tool)


def test_every_finding_says_why_and_what_to_do(findings: dict[str, doctor.Finding]) -> None:
    for finding in findings.values():
        assert finding.why
        assert finding.found
        assert bool(finding.remedy) == (finding.state != "ok"), finding


def test_examining_makes_nothing(tmp_path: Path) -> None:
    examine(tmp_path / "cache", tmp_path / "output")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("mke2fs", "mke2fs 1.47.2 (1-Jan-2025)"),
        ("dpkg", "Debian 'dpkg' package management program version 1.22.1 (amd64)."),
    ],
)
def test_versions_are_read_and_compared(
    program: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of that name that says so stands first on the PATH."""
    (stand_in := tmp_path / program).write_text(f'#!/bin/sh\necho "{answer}" >&2\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(run, "PATH", f"{tmp_path}:{run.PATH}")
    tools.version.cache_clear()
    tool = Tool((program,), "package", "a reason", minimum="1.22")
    found = answer.split()[-2] if program == "mke2fs" else "1.22.1"
    assert one(tool).state == "ok"
    assert one(tool).found in (found, "1.47.2")
    too_old = one(replace(tool, minimum="2.0"))
    assert (too_old.state, too_old.needed) == ("missing", ">= 2.0")
    assert "package" in too_old.remedy
    tools.version.cache_clear()


@pytest.mark.parametrize(
    ("version", "minimum", "is_enough"),
    [
        ("1.47.1", "1.47.1", True),
        ("1.47", "1.47.0", True),
        ("1.9.9", "1.10", False),
        ("1.47.1-rc2", "1.47.1", False),
        ("2.40-rc1", "2.37", True),
        ("1.22.6ubuntu6.1", "1.22.6", True),
        ("1.22.6ubuntu6.1", "1.22.7", False),
        ("2.39.1-15-g3ab", "2.39.1", True),
        ("unknown", "0.5", False),
    ],
)
def test_versions_have_an_order(version: str, minimum: str, is_enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "version", lambda *_: version)
    finding = one(Tool(("cp",), "coreutils", "a reason", minimum=minimum))
    assert (finding.state, finding.found) == ("ok" if is_enough else "missing", version)


def test_a_program_that_is_absent_is_named() -> None:
    finding = one(Tool(("cp", "no-such-program"), "coreutils", "a reason"))
    assert (finding.state, finding.found) == ("missing", "no no-such-program")


def test_too_little_room_is_missing_room(tmp_path: Path) -> None:
    more = shutil.disk_usage(tmp_path).total + 1
    finding = doctor._space("room", tmp_path / "not/there/yet", more, "a reason")
    assert (finding.state, finding.remedy) == ("missing", f"make room in {tmp_path}")


def test_set_up_installs_all_that_is_looked_for() -> None:
    listed = {line.split()[0].partition("/")[0] for line in PACKAGES.splitlines() if line and line[0] != "#"}
    of_every_debian = {"dpkg", "apt", "util-linux", "mount", "coreutils"}
    assert {tool.package for tool in (*TOOLS, doctor.ROOTLESS)} - of_every_debian <= listed


def test_an_old_mke2fs_is_refused_before_anything_is_baked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "E2FSPROGS", replace(doctor.E2FSPROGS, minimum="99.0"))
    with pytest.raises(MissingToolError, match=r"e2fsprogs .*, needed is >= 99.0\n  make setup") as old:
        doctor.require_mke2fs()
    assert old.value.exit_code == 5


def test_text_and_json_tell_the_same(findings: dict[str, doctor.Finding]) -> None:
    shown = "\n".join(texts.findings_lines(findings.values()))
    for data in json.loads(json.dumps(texts.findings_data(findings.values()))):
        assert data["name"] in shown
        assert data["remedy"] in shown


def test_something_missing_is_exit_5(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "setpriv").symlink_to(shutil.which("setpriv") or "")
    (tmp_path / "unshare").symlink_to(shutil.which("unshare") or "")
    monkeypatch.setattr(run, "PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    tools.version.cache_clear()
    assert main(["doctor", "--json"]) == 5
    out, err = capsys.readouterr()
    missing = [finding["name"] for finding in json.loads(out) if finding["state"] == "missing"]
    assert "e2fsprogs" in missing
    assert "e2fsprogs" in err
    tools.version.cache_clear()
