"""Provenance is a statement that in-toto's and SLSA's own messages take, and says what was fetched, by whom, when."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse, ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement_pb2 import Statement

from builder.model.manifest import Manifest
from builder.plan import as_data
from builder.publish.git import revision_of
from builder.publish.provenance import Revision, Run, provenance, without_credentials
from tests.model.test_manifest import manifest as bare_manifest
from tests.planned import plan_of

DEB = {"version": "1", "architecture": "arm64", "archive": "http://a/debian", "size": 5}
IMAGE = {"request": "{}", "url": "https://a/pi.img.xz", "sha256": "c" * 64, "size": 5, "signed_by": ""}
LOCK = {
    "debian-trixie arm64": {
        "request": "{}",
        "epoch": 7,
        "essential": [],
        "debs": [
            {**DEB, "name": "nano", "path": "n.deb", "sha256": "a" * 64},
            {**DEB, "name": "vim", "path": "v.deb", "sha256": "b" * 64},
        ],
    },
    "raspios-trixie": {**IMAGE, "extracted_sha256": "d" * 64, "extracted_size": 9},
}
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "o/p",
    "GITHUB_RUN_ID": "42",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_WORKFLOW_REF": "o/p/.github/workflows/image.yml@refs/heads/main",
    "GITHUB_TOKEN": "ghs_secret",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_URL": "https://gitlab.example/o/p",
    "CI_RUNNER_ID": "7",
    "CI_JOB_URL": "https://gitlab.example/o/p/-/jobs/42",
    "CI_JOB_TOKEN": "glcbt-secret",
}
BY_HAND: dict[str, str] = {}
SUBJECTS = {"node-003.img.xz": "2" * 64, "SHA256SUMS": "1" * 64}


@pytest.fixture
def manifests(shipped_folder: Path) -> list[Manifest]:
    """Manifests of two workers, which share all fetched files."""
    plans = [plan_of(shipped_folder, name=name) for name in ("node-003", "node-004")]
    bare = bare_manifest()
    return [bare.model_copy(update={"node": plan.settings.name, "plan": as_data(plan), "lock": LOCK}) for plan in plans]


def statement(
    manifests: list[Manifest],
    environment: Mapping[str, str] = BY_HAND,
    revision: Revision | None = None,
    *,
    begun: float = 1795486335.5,
    where: tuple[str, str] = ("builder-1", "Debian 12, x86_64"),
) -> dict[str, Any]:
    run = Run(begun, begun + 64.4, *where, environment)
    text = provenance(SUBJECTS, manifests, run, tools={"mke2fs": "1.47.2"}, revision=revision)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    data: dict[str, Any] = json.loads(text)
    require_valid(text.decode(), data)
    return data


def require_valid(text: str, data: dict[str, Any]) -> None:
    """As the messages of the projects' own packages read it: they refuse keys that they do not know."""
    read = Parse(text, Statement())
    assert read.type == "https://in-toto.io/Statement/v1"
    assert read.predicate_type == "https://slsa.dev/provenance/v1"
    assert all(len(one.digest["sha256"]) == 64 for one in read.subject)
    predicate = ParseDict(data["predicate"], Provenance())
    assert predicate.build_definition.build_type
    assert predicate.run_details.builder.id
    with pytest.raises(ParseError):
        ParseDict({**data["predicate"], "surprise": 1}, Provenance())


def test_every_file_of_the_set_is_a_subject_and_everything_fetched_a_dependency_once(manifests: list[Manifest]) -> None:
    data = statement(manifests)
    definition = data["predicate"]["buildDefinition"]
    assert [(one["name"], one["digest"]["sha256"]) for one in data["subject"]] == sorted(SUBJECTS.items())
    assert [(one["uri"], one["digest"]["sha256"][0]) for one in definition["resolvedDependencies"]] == [
        ("http://a/debian/n.deb", "a"),
        ("http://a/debian/v.deb", "b"),
        ("https://a/pi.img.xz", "c"),
    ]
    assert definition["externalParameters"]["nodes"] == [
        {"name": name, "role": "worker", "base": "debian-trixie", "guest": "debian"}
        for name in ("node-003", "node-004")
    ]
    assert data["predicate"]["runDetails"]["metadata"] == {
        "invocationId": "builder-1 2026-11-24T02:12:15Z",
        "startedOn": "2026-11-24T02:12:15Z",
        "finishedOn": "2026-11-24T02:13:19Z",
    }


def test_another_run_differs_in_what_is_of_the_run_only(manifests: list[Manifest]) -> None:
    by_hand = statement(manifests)
    elsewhere = statement(manifests, GITHUB, begun=1795999999.0, where=("builder-2", "Debian 13, aarch64"))
    assert by_hand["predicate"].pop("runDetails") != elsewhere["predicate"].pop("runDetails")
    assert by_hand == elsewhere


def test_two_files_that_one_address_gave_are_two_dependencies(manifests: list[Manifest]) -> None:
    later = {**LOCK, "raspios-trixie": {**IMAGE, "sha256": "e" * 64, "extracted_sha256": "f" * 64, "extracted_size": 9}}
    one, other = manifests
    data = statement([one, other.model_copy(update={"lock": later})])
    found = data["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [one["digest"]["sha256"][0] for one in found if one["uri"] == IMAGE["url"]] == ["c", "e"]


@pytest.mark.parametrize(
    ("environment", "builder", "run"),
    [
        (
            GITHUB,
            "https://github.com/o/p/.github/workflows/image.yml@refs/heads/main",
            "https://github.com/o/p/actions/runs/42/attempts/2",
        ),
        (GITLAB, "https://gitlab.example/o/p/-/runners/7", "https://gitlab.example/o/p/-/jobs/42"),
        ({"BUILD_URL": "https://ci/job/9/", "JENKINS_URL": "https://ci/"}, "https://ci/", "https://ci/job/9/"),
        (BY_HAND, "https://pimu-build/builder/by-hand", "builder-1 2026-11-24T02:12:15Z"),
    ],
)
def test_a_ci_is_known_by_its_variables_and_no_secret_of_it_is_told(
    manifests: list[Manifest], environment: dict[str, str], builder: str, run: str
) -> None:
    data = statement(manifests, environment)
    details = data["predicate"]["runDetails"]
    assert (details["builder"]["id"], details["metadata"]["invocationId"]) == (builder, run)
    assert "secret" not in json.dumps(data)


def test_the_commit_is_a_dependency_when_there_is_one(manifests: list[Manifest]) -> None:
    revision = Revision("f" * 40, "https://example.org/p.git", changed=True)
    first = statement(manifests, revision=revision)["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert first == {
        "name": "project",
        "uri": "git+https://example.org/p.git",
        "digest": {"gitCommit": "f" * 40},
        "annotations": {"changed": True},
    }


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://example.org/p.git", "https://example.org/p.git"),
        ("https://user:ghp_x@example.org/p.git", "https://example.org/p.git"),
        ("https://p@ss@example.org/p.git", "https://example.org/p.git"),
        ("https://example.org/p.git?private_token=x#y", "https://example.org/p.git"),
        ("ssh://git@example.org:2222/o/p.git", "ssh://example.org:2222/o/p.git"),
        ("git@example.org:o/p.git", "ssh://example.org/o/p.git"),
        ("example.org:/srv/p.git", "ssh://example.org/srv/p.git"),
        ("ext::ssh -i key example.org", ""),
        ("C", ""),
        ("/home/pimu/p", ""),
        ("../p", ""),
        ("file:///srv/p", ""),
    ],
)
def test_a_remote_is_told_without_credentials_and_a_path_not_at_all(url: str, told: str) -> None:
    assert without_credentials(url) == told


def test_git_tells_commit_remote_and_whether_there_is_more(tmp_path: Path) -> None:
    assert revision_of(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert revision_of(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "--message", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")

    assert revision_of(tmp_path) == Revision(commit, "", changed=False)
    git(tmp_path, "remote", "add", "origin", "https://me:pass@example.org/p.git")
    (tmp_path / "a").write_text("2")
    assert revision_of(tmp_path) == Revision(commit, "https://example.org/p.git", changed=True)


def git(folder: Path, *words: str) -> str:
    author = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **author, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return subprocess.run(
        ["git", "-C", folder, *words], env=env, check=True, capture_output=True, text=True
    ).stdout.strip()
