"""The answer file of Alpine's installer, which has a dialect for each release."""

from __future__ import annotations

from collections.abc import Sequence

from builder.model.overlays import OverlayFile
from builder.model.settings import Guest
from builder.model.sources import InstallerSource
from builder.templates import render

DISK = "/dev/vda"
"""The guest's disk as its installer sees it: the first of virtio."""


def answers(
    template: OverlayFile,
    guest: Guest,
    *,
    hostname: str,
    ssh_keys: Sequence[str],
    timezone: str,
    disk: str = DISK,
) -> bytes:
    """The file for a guest with a table of dialects. `ssh_keys` are root's, lines of authorized_keys(5).

    ConfigurationError with the template's line when it asks for what it is not given.
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
    return render(template.text, template.origin, variables).encode() if template.is_template else template.content
