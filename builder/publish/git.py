"""The state of the project's folder in git, where there is a git and a history."""

from __future__ import annotations

from pathlib import Path

from builder.host.run import Result, run, which
from builder.publish.provenance import Revision, without_credentials


def revision_of(project: Path) -> Revision | None:
    """The commit that is checked out; None where git is not installed, or has nothing to say of this folder."""
    if which("git") is None:
        return None
    commit = _git(project, "rev-parse", "--verify", "HEAD")
    if commit.returncode != 0:
        return None
    remote = _git(project, "remote", "get-url", "origin")
    changed = _git(project, "status", "--porcelain", "--", ".")
    url = without_credentials(remote.text.strip()) if remote.returncode == 0 else ""
    return Revision(commit.text.strip(), url, changed.returncode != 0 or bool(changed.text.strip()))


def _git(project: Path, *words: str) -> Result:
    # Its own optional locks would make a build write into a folder that may be read only, or another user's.
    return run(["git", "--no-optional-locks", "-C", project.absolute(), *words], check=False)
