"""`pimu-build render`: cloud-init/ as a node's guest gets it, shown or written out, with no secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.planned import plan_of

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]
NODE = ("node-003", "--role", "worker", "--guest", "debian")
SEED = ("k3s-join.sh", "k3s-release.sh", "meta-data", "network-config", "seed.conf", "user-data")
SECRETS = {
    "k3s-node-password": "node-password/k3s-003, from file:profiles/access/node-passwords",
    "k3s-token": "file:profiles/access/k3s-agent-token",
}
CANARY = "canary-Kz81"


def seed_of(folder: Path) -> dict[str, bytes]:
    """The files that a build puts onto the seed, but for the secrets."""
    return {file.name: file.content for file in plan_of(folder, base="raspios-trixie").seed if file.secret is None}


def test_it_shows_what_the_seed_of_a_build_holds(pimu: Run, project_folder: Path, capsys: Output) -> None:
    assert pimu("render", *NODE) == 0
    shown = {name: content.decode() for name, content in seed_of(project_folder).items()}
    shown |= {name: f"<{reference}>\n" for name, reference in SECRETS.items()}
    assert capsys.readouterr().out == "\n".join(f"==> {name} <==\n{shown[name]}" for name in sorted(shown))


def test_it_writes_the_same_and_says_where(pimu: Run, project_folder: Path, capsys: Output) -> None:
    assert pimu("render", *NODE, "--to", "a/seed") == 0
    out, err = capsys.readouterr()
    assert out.split() == [f"a/seed/{name}" for name in SEED]
    assert err.splitlines() == [
        f"a/seed/{name}: not written, it is a secret: <{reference}>" for name, reference in SECRETS.items()
    ]
    assert {path.name: path.read_bytes() for path in Path("a/seed").iterdir()} == seed_of(project_folder)


def test_an_alpine_guest_has_answers_beside_its_seed(pimu: Run, capsys: Output) -> None:
    assert pimu("render", *NODE, "--guest", "alpine", "--json", "--to", "a") == 0
    told = {file["name"]: file for file in json.loads(capsys.readouterr().out)}
    assert {name: file["on_seed"] for name, file in told.items()} == {
        "answers": False,
        **dict.fromkeys((*SEED, *SECRETS), True),
    }
    assert told["answers"]["origin"] == "cloud-init/answers.j2"
    assert "export HOSTNAMEOPTS=k3s-003\n" in told["answers"]["text"]
    assert told["answers"]["path"] == "a/answers"
    assert {name: file["secret"] for name, file in told.items() if file["text"] is None} == SECRETS
    assert {told[name]["path"] for name in SECRETS} == {None}


def test_answers_are_on_no_seed(project_folder: Path) -> None:
    plan = plan_of(project_folder, node="guest: alpine\n")
    assert "answers" not in {file.name for file in plan.seed}


def test_whatever_else_is_in_cloud_init_is_on_the_seed_and_rendered(
    pimu: Run, project_folder: Path, capsys: Output
) -> None:
    (project_folder / "cloud-init/join.sh.j2").write_text("#!/bin/sh\nname={{ node.guest_hostname | sh }}\n")
    (project_folder / "cloud-init/bytes").write_bytes(b"\xff\x00")
    assert pimu("render", *NODE, "--to", "seed") == 0
    assert Path("seed/join.sh").read_text() == "#!/bin/sh\nname=k3s-003\n"
    assert Path("seed/bytes").read_bytes() == b"\xff\x00"
    assert {"join.sh", "bytes"} < {file.name for file in plan_of(project_folder).seed}
    capsys.readouterr()
    assert pimu("render", *NODE) == 0
    assert "==> bytes <==\n\\xff\\x00\n" in capsys.readouterr().out


def test_again_is_no_change_and_other_files_stay(pimu: Run) -> None:
    assert pimu("render", *NODE, "--to", "seed") == 0
    Path("seed/notes").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in Path("seed").iterdir()}
    assert pimu("render", *NODE, "--to", "seed") == 0
    assert {path: path.stat().st_mtime_ns for path in Path("seed").iterdir()} == before


def test_what_was_changed_by_hand_is_replaced_only_by_force(pimu: Run, tmp_path: Path, capsys: Output) -> None:
    assert pimu("render", *NODE, "--to", "seed") == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("another's")
    ours = Path("seed/meta-data").read_text()
    Path("seed/user-data").write_text("mine")
    Path("seed/meta-data").unlink()
    Path("seed/network-config").unlink()
    Path("seed/network-config").symlink_to(elsewhere)

    assert pimu("render", *NODE, "--to", "seed") == 2
    assert "seed/network-config, seed/user-data: is there already" in capsys.readouterr().err
    assert not Path("seed/meta-data").exists()

    assert pimu("render", *NODE, "--to", "seed", "--force") == 0
    assert Path("seed/meta-data").read_text() == ours
    assert Path("seed/user-data").read_text().startswith("#cloud-config\n")
    assert elsewhere.read_text() == "another's"
    assert sorted(path.name for path in Path("seed").iterdir()) == list(SEED)


def test_a_link_that_leads_nowhere_is_in_the_way_too(pimu: Run, tmp_path: Path) -> None:
    Path("seed").mkdir()
    Path("seed/user-data").symlink_to(tmp_path / "not-yet")
    assert pimu("render", *NODE, "--to", "seed") == 2
    assert [path.name for path in Path("seed").iterdir()] == ["user-data"]


def test_secrets_stay_where_they_are(
    pimu: Run, project_folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("  ssh_keys:", "  password: env:PW\n  ssh_keys:"))
    monkeypatch.setenv("PW", f"$6$rounds=5000$salt${CANARY}")
    token = project_folder / "profiles/access/k3s-agent-token"
    token.write_text(f"{CANARY}-{CANARY}")
    token.chmod(0o600)
    (project_folder / "cloud-init/naive.j2").write_text("{{ node.user.password }} {{ k3s.agent_token }}\n")
    for words in ((), ("--json",), ("--to", "seed"), ("--to", "seed", "--force", "-v")):
        assert pimu("render", *NODE, "--guest", "alpine", *words) == 0
    shown = capsys.readouterr()
    written = "".join(path.read_text() for path in Path("seed").iterdir())
    assert "env:PW file:profiles/access/k3s-agent-token\n" in shown.out
    assert "env:PW file:profiles/access/k3s-agent-token\n" in written
    assert CANARY not in shown.out + shown.err + written


def test_a_token_put_there_by_hand_is_left_alone(pimu: Run) -> None:
    Path("seed").mkdir()
    Path("seed/k3s-token").write_text("mine")
    assert pimu("render", *NODE, "--to", "seed", "--force") == 0
    assert Path("seed/k3s-token").read_text() == "mine"


def test_the_help_says_how_the_files_are_used(pimu: Run, capsys: Output) -> None:
    assert pimu("render", "--help") == 0
    shown = capsys.readouterr().out
    assert "set -a; . ./answers; set +a; setup-alpine -e -f ./answers" in shown
    assert "-V CIDATA" in shown
