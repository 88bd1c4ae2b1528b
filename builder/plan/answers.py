"""The answer file of Alpine's installer. Releases of Alpine differ in its keys and words (AnswerDialect)."""

from __future__ import annotations

from collections.abc import Sequence

from builder.features.variables import plain
from builder.model.overlays import OverlayFile
from builder.model.settings import Guest
from builder.model.sources import InstallerSource
from builder.template.strict import Render

DISK = "/dev/vda"
"""The guest's disk in its installer: the first virtio disk."""


def answers(
    template: OverlayFile,
    guest: Guest,
    *,
    hostname: str,
    ssh_keys: Sequence[str],
    timezone: str,
    render: Render,
    disk: str = DISK,
) -> bytes:
    """The file for a guest that has a table of dialects. `ssh_keys` are root's keys, as lines of authorized_keys(5).

    Raises ConfigurationError, with the template's line, for a variable that does not exist.
    """
    assert isinstance(guest.source, InstallerSource)
    variables = {
        "hostname": hostname,
        "ssh_keys": tuple(ssh_keys),
        "timezone": timezone,
        "disk": disk,
        "guest": guest,
        "mirror": guest.source.mirror,
        "answers": guest.answer_dialect,
    }
    if not template.is_template:
        return template.content
    given = {name: plain(value) for name, value in variables.items()}
    return render(template.text, template.origin, given).encode()
