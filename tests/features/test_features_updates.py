"""Security updates that the Pi takes by itself, or not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from tests.planned import BASES, ROLES, pi_of, placeholder, plan_of

TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
CONFIGURATION = "/etc/apt/apt.conf.d/60pimu-updates"
OF_THE_PACKAGE = {
    # What Debian's package brings: all updates of the release, and more.
    "20auto-upgrades": 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "0";\n',
    "50unattended-upgrades": """\
Unattended-Upgrade::Allowed-Origins { "Debian:stable"; };
Unattended-Upgrade::Origins-Pattern {
    "origin=Debian,codename=${distro_codename},label=Debian";
    "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
};
Unattended-Upgrade::Automatic-Reboot "true";
""",
}


def effective(text: str, folder: Path) -> list[str]:
    """The configuration as apt's own parser reads it, beside that of the package."""
    parts = folder / "apt.conf.d"
    parts.mkdir()
    for name, content in {**OF_THE_PACKAGE, Path(CONFIGURATION).name: text}.items():
        (parts / name).write_text(content)
    # APT_CONFIG is read before the parts, so that the machine's own are not.
    (folder / "apt.conf").write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/dev/null";\n')
    done = subprocess.run(
        ["apt-config", "dump"],
        env={"APT_CONFIG": str(folder / "apt.conf"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("role", ROLES)
def test_a_node_takes_no_updates_unless_it_is_told_to(role: str, shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder, role=role)
    pi = pi_of(plan, secrets=placeholder)
    assert all(pi.is_masked(timer) for timer in TIMERS)
    assert pi.entry(CONFIGURATION) is None
    assert "unattended-upgrades" not in plan.packages


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("base", BASES)
def test_security_updates_are_those_of_the_bases_archives(
    base: str, role: str, project_folder: Path, tmp_path: Path
) -> None:
    plan = plan_of(project_folder, base=base, role=role, node="updates: security\n")
    pi = pi_of(plan, secrets=placeholder)

    assert "unattended-upgrades" in plan.packages
    for timer in TIMERS:
        assert pi.is_enabled(timer)
        assert pi.entry(f"/etc/systemd/system/timers.target.wants/{timer}") is not None

    lines = effective(pi.text(CONFIGURATION), tmp_path)
    origins = [line.partition(" ")[2].strip('";') for line in lines if line.startswith("Unattended-Upgrade::Origins-")]
    debian, *others = [origin for origin in origins if origin]
    assert debian == f"origin=Debian,codename={plan.base.suite}-security,label=Debian-Security"
    assert all(f"codename={plan.base.suite}" in other.split(",") for other in others)
    assert bool(others) is base.startswith("raspios")
    assert not [line for line in lines if line.startswith("Unattended-Upgrade::Allowed-Origins::")]
    for word in ("Update-Package-Lists", "Unattended-Upgrade", "Enable"):
        assert f'APT::Periodic::{word} "1";' in lines
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in lines


def test_a_base_that_names_no_archive_of_security_updates_is_refused(project_folder: Path) -> None:
    profile = project_folder / "profiles/bases/debian-trixie.yaml"
    profile.write_text(
        profile.read_text().replace("security_origins:", "security_origins: []\nx:").partition("\nx:")[0]
    )
    profile.write_text(f"{profile.read_text()}\ndefaults:\n  guest: debian\n")
    with pytest.raises(ConfigurationError, match=r"debian-trixie\.yaml names no archive of security updates") as caught:
        plan_of(project_folder, node="updates: security\n")
    assert caught.value.where == "profiles/nodes/node-003.yaml:1"
