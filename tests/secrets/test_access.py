"""The keys and secrets that set-up makes for a new project, and that it makes none for a cluster that may run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.model.k3s_ca import from_text
from builder.secrets.k3s_ca import write_ca
from builder.secrets.resolve import Secrets, secrets_of
from tests.conftest import SHIPPED
from tests.planned import plan_of

SCRIPT = SHIPPED / "builder/setup/access.sh"
MADE = {"id_ed25519": 0o600, "id_ed25519.pub": 0o644} | dict.fromkeys(
    ("k3s-agent-token", "k3s-ca", "k3s-token", "node-passwords"), 0o600
)


@pytest.fixture
def project(project_folder: Path) -> Path:
    """Without keys and secrets, and with this environment's program."""
    shutil.rmtree(project_folder / "profiles/access")
    (project_folder / ".venv/bin").mkdir(parents=True)
    program = project_folder / ".venv/bin/pimu-build"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={SHIPPED} exec {sys.executable} -m builder "$@"\n')
    program.chmod(0o755)
    return project_folder


def set_up(project: Path) -> str:
    return subprocess.run([SCRIPT], cwd=project, stderr=subprocess.PIPE, text=True, check=True).stderr


def modes(project: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_mode & 0o777 for path in (project / "profiles/access").iterdir()}


def contents(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / "profiles/access").iterdir()}


def test_a_new_project_can_be_built_and_a_second_run_changes_nothing(project: Path) -> None:
    said = set_up(project)
    assert len(said.splitlines()) == 5
    assert modes(project) == MADE
    made = contents(project)
    from_text(made["k3s-ca"].decode())
    secrets = {made[name] for name in ("k3s-token", "k3s-agent-token", "node-passwords")}
    assert {len(secret) for secret in secrets} == {48}
    assert len(secrets) == 3
    for role in ("worker", "server"):
        plan = plan_of(project, role=role)
        Secrets(project).require(secrets_of(plan))
        assert not [note for note in plan.notes if note.feature == "k3s"]
    assert set_up(project) == ""
    assert contents(project) == made


@pytest.mark.parametrize("token", ["k3s-token", "k3s-agent-token"])
def test_a_project_with_a_token_gets_nothing_that_would_lock_its_nodes_out(project: Path, token: str) -> None:
    access = project / "profiles/access"
    access.mkdir()
    (access / token).write_text("of a cluster that runs")
    said = set_up(project)
    assert 'profiles/access/node-passwords was not made: see README.md, "Older projects"' in said
    assert 'profiles/access/k3s-ca was not made: see README.md, "Older projects"' in said
    assert set(modes(project)) == MADE.keys() - {"k3s-ca", "node-passwords"}
    assert (access / token).read_text() == "of a cluster that runs"


def test_a_run_that_was_cut_off_is_completed(project: Path, access: Path) -> None:
    """Tokens come last: without them there is no cluster yet."""
    folder = project / "profiles/access"
    folder.mkdir()
    shutil.copy(access / "node-passwords", folder)
    shutil.copy(access / "k3s-ca", folder)
    before = contents(project)
    set_up(project)
    assert modes(project) == MADE
    assert {name: contents(project)[name] for name in before} == before


@pytest.mark.parametrize("name", ["k3s-token", "node-passwords", "k3s-ca"])
def test_a_link_that_leads_nowhere_is_neither_followed_nor_replaced(project: Path, name: str) -> None:
    folder = project / "profiles/access"
    folder.mkdir()
    (folder / name).symlink_to(project.parent / "elsewhere")
    set_up(project)
    assert (folder / name).is_symlink()
    assert not (project.parent / "elsewhere").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_authorities_appear_when_they_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys take seconds, in which a machine can be switched off."""

    def cut_off(cluster: str, now: object) -> dict[str, str]:
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
        assert not (tmp_path / "ca").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("builder.secrets.k3s_ca.make_parts", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_ca("pimu", tmp_path / "ca")
    assert not list(tmp_path.iterdir())
