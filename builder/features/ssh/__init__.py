"""The ssh server: keys only, one listener."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    yield from context.overlay("ssh", key="user.ssh_keys")
    yield context.enable("ssh.service", wanted_by="multi-user.target", key="user.ssh_keys")
    # With ssh.socket enabled too, the second one to start would find port 22 in use.
    yield from context.mask("ssh.socket", key="user.ssh_keys")


FEATURE = Feature(name="ssh", order=50, package=__name__, edits=edits)
