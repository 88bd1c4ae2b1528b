"""The origin of a set of files: an in-toto Statement v1 with a provenance predicate of SLSA v1 (slsa.dev/spec/v1.0).

What is of one run (when, where, in whose CI) is in its runDetails, and in no other paper: all else is the same each
time. The builder tells it of itself, which is SLSA's build level 1: who wants more has the CI sign it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import builder
from builder.model.lock import Deb, LockedFile, LockedImage, Resolution, of_data
from builder.model.manifest import Manifest
from builder.publish.timestamp import timestamp

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://pimu-build/build/v1"
"""A project's folder and the names of nodes give images: `pimu-build NODE... --role ROLE --base BASE`."""
_BY_HAND = "https://pimu-build/builder/by-hand"


@dataclass(frozen=True, slots=True)
class Revision:
    """The commit of the project that was built. `url` is its public address without credentials, or "". `changed`:
    there were edits that no commit has."""

    commit: str
    url: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the builder: seconds since 1970, the host's name, its system in a few words, and its environment."""

    started: float
    finished: float
    host: str
    system: str
    environment: Mapping[str, str]


def provenance(
    subjects: Mapping[str, str],
    manifests: Sequence[Manifest],
    run: Run,
    *,
    tools: Mapping[str, str],
    revision: Revision | None = None,
) -> bytes:
    """SET.intoto.jsonl: one line. `subjects` are the files of the set by name, with their sha256; `manifests` those of
    the images in it; `tools` programs of the build host that shape bytes, with their versions.

    Raises ConfigurationError when a manifest's lock is damaged.
    """
    platform, invocation = _platform(run)
    metadata = {"startedOn": timestamp(run.started), "finishedOn": timestamp(run.finished)}
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"nodes": [_node(manifest) for manifest in manifests]},
                "internalParameters": {"tools": dict(sorted(tools.items()))},
                "resolvedDependencies": [*_project(revision), *_dependencies(manifests)],
            },
            "runDetails": {
                "builder": {"id": platform, "version": {"pimu-build": builder.__version__, "system": run.system}},
                "metadata": {"invocationId": invocation, **metadata},
            },
        },
    }
    return (json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def without_credentials(url: str) -> str:
    """A git remote as a URL that may be published; "" for one of this machine alone, and for what is no URL."""
    if short := re.fullmatch(r"(?:[^/\s:]+@)?([^/\s:@]+):((?!//|:)\S+)", url):  # HOST:PATH, as of scp(1)
        return f"ssh://{short[1]}/{short[2].lstrip('/')}"
    parts = re.match(r"((?:https?|ssh|git)://)(?:[^/]*@)?([^@/?#\s]+/[^?#\s]+)", url)
    return f"{parts[1]}{parts[2]}" if parts else ""


def _platform(run: Run) -> tuple[str, str]:
    """The builder as a URI, and its run: from the variables that GitHub's and GitLab's runners set, and BUILD_URL of
    Jenkins and its kin; by hand, host and moment."""
    environment, by_hand = run.environment, f"{run.host} {timestamp(run.started)}"
    if environment.get("GITHUB_ACTIONS") == "true":
        server = environment.get("GITHUB_SERVER_URL", "https://github.com")
        attempt = "{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT}"
        names = dict.fromkeys(("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_WORKFLOW_REF"), "unknown")
        known = {**names, "GITHUB_RUN_ATTEMPT": "1", **environment}
        return f"{server}/{known['GITHUB_WORKFLOW_REF']}", f"{server}/{attempt.format_map(known)}"
    if environment.get("GITLAB_CI") == "true":
        project, runner = environment.get("CI_PROJECT_URL", "https://gitlab.com"), environment.get("CI_RUNNER_ID", "0")
        return f"{project}/-/runners/{runner}", environment.get("CI_JOB_URL", by_hand)
    if environment.get("BUILD_URL"):
        return environment.get("JENKINS_URL") or _BY_HAND, environment["BUILD_URL"]
    return _BY_HAND, by_hand


def _node(manifest: Manifest) -> dict[str, str]:
    settings = manifest.plan["settings"]
    return {"name": manifest.node, **{key: settings[key] for key in ("role", "base", "guest")}}


def _project(revision: Revision | None) -> list[dict[str, Any]]:
    if revision is None:
        return []
    place = {"uri": f"git+{revision.url}"} if revision.url else {}
    return [
        {
            "name": "project",
            **place,
            "digest": {"gitCommit": revision.commit},
            "annotations": {"changed": revision.changed},
        }
    ]


def _dependencies(manifests: Iterable[Manifest]) -> list[dict[str, Any]]:
    """All that was fetched, each thing once: every .deb by itself, so that a digest can be looked for. Images that were
    built with other locks may have got other bytes from one address."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for manifest in manifests:
        for name, data in manifest.lock.items():
            locked = of_data(data, f"manifest of {manifest.node}: {name}")
            for one in locked.debs if isinstance(locked, Resolution) else (locked,):
                found[one.url, one.sha256] = _descriptor(name, one)
    return [found[key] for key in sorted(found)]


def _descriptor(name: str, fetched: Deb | LockedImage | LockedFile) -> dict[str, Any]:
    called = fetched.name if isinstance(fetched, Deb) else name
    return {"name": called, "uri": fetched.url, "digest": {"sha256": fetched.sha256}}
