"""The ssh server's own keys: none in the image, or all nodes would have the same; made at boot where missing."""

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
    # Debian's and Raspberry Pi's own run at the first boot only: a power cut during it leaves no keys for good.
    yield from context.mask("sshd-keygen.service", "regenerate_ssh_host_keys.service", key="base")
    yield from context.overlay("hostkeys", key="base")


FEATURE = Feature(name="host-keys", order=60, package=__name__, edits=edits, checks=checks, lasting=("host-keys",))
