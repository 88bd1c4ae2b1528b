"""The ssh server's host keys. The image has none, or all nodes would share them. A boot makes each missing key."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.host_keys.checks import checks
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    for kind in ("rsa", "ecdsa", "ed25519"):
        for suffix in ("", ".pub"):
            yield context.remove(f"/etc/ssh/ssh_host_{kind}_key{suffix}", key="base")
    # The units of Debian and Raspberry Pi OS run at the first boot only. After a power cut there, no key is ever made.
    yield from context.mask("sshd-keygen.service", "regenerate_ssh_host_keys.service", key="base")
    yield from context.overlay("hostkeys", key="base")


FEATURE = Feature(name="host-keys", order=60, package=__name__, edits=edits, checks=checks, lasting=("host-keys",))
