"""Render the templates of cloud-init/ for one node, for use by hand: the files of its guest's seed and, for a guest
that setup-alpine installs, the answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError, UsageError
from builder.host.files import read_regular, replace
from builder.host.rendering import rendering
from builder.model.patches import SecretRef
from builder.model.plan import Plan
from builder.plan.answers import answers
from builder.project import Project


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered file. `on_seed`: it belongs on the guest's NoCloud disk. `secret` is a reference; a file with a secret
    has no content."""

    name: str
    content: bytes
    origin: str
    on_seed: bool
    secret: str | None = None


def render(project: Project, plan: Plan) -> list[Rendered]:
    """The files, sorted by name. Raises ConfigurationError when the node has no guest."""
    settings, guest = plan.settings, plan.guest
    if guest is None:
        hint = "--role takes a role with a guest"
        raise ConfigurationError(f"{settings.name} is a {settings.role}, which runs no guest", hint=hint)
    files = [
        Rendered(file.name, file.content, file.origin, on_seed=True, secret=_reference(file.secret))
        for file in plan.seed
    ]
    if guest.answers is not None:
        template = project.answers
        assert template is not None  # or there would be no plan of this node
        with rendering() as bounded:
            content = answers(
                template,
                guest,
                hostname=settings.guest_hostname,
                ssh_keys=settings.user.ssh_keys,
                timezone=settings.timezone,
                render=bounded,
            )
        files.append(Rendered("answers", content, template.origin, on_seed=False))
    return sorted(files, key=lambda file: file.name)


def _reference(secret: SecretRef | None) -> str | None:
    if secret is None:
        return None
    return f"{secret.purpose}, from {secret.reference}" if secret.purpose else secret.reference


def write(files: Iterable[Rendered], folder: Path, *, force: bool) -> list[Path]:
    """Write each file without a secret into `folder`, and return the paths. Other files in `folder` stay.

    Raises UsageError, before anything is written, when a file exists with other content and `force` is not given, and
    ConfigurationError when the folder cannot be written.
    """
    paths = {folder / file.name: file.content for file in files if file.secret is None}
    changed = {path: content for path, content in paths.items() if not _holds(path, content)}
    in_the_way = [str(path) for path in changed if os.path.lexists(path)]
    if in_the_way and not force:
        hint = "name another folder, or say --force to replace it"
        raise UsageError("is there already, with other content", where=", ".join(in_the_way), hint=hint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in changed.items():
            replace(path, content)
    except OSError as refused:
        hint = "name another folder with --to"
        raise ConfigurationError(f"cannot be written: {refused.strerror}", where=str(folder), hint=hint) from refused
    return list(paths)


def _holds(path: Path, content: bytes) -> bool:
    """Whether `path` is a regular file with this content. A symlink never counts as one."""
    return not path.is_symlink() and path.is_file() and read_regular(path, limits.OVERLAY) == content
