"""The fast way to bake packages makes what the slow one makes, byte for byte."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from builder.model.layer import BOOT_TAR, ROOT_TAR
from tests.emulated import bake_both

pytestmark = pytest.mark.disk

# Alternatives and their man pages, accounts and groups, units enabled and disabled, D-Bus, ucf, a set-gid program, a
# library for ldconfig, and chrony, for which systemd-timesyncd goes. The worker's own packages add Python's byte code,
# AppArmor profiles and an initrd.
FEW = ("nmon", "tmux", "iptables", "dnsmasq-base", "avahi-daemon", "cron", "chrony")

Facts = tuple[bytes, int, int, int, int, str, tuple[tuple[str, str], ...], str]


@pytest.mark.parametrize("packages", [FEW, pytest.param((), marks=pytest.mark.soak)], ids=["few", "worker"])
def test_the_layer_is_that_of_an_emulated_chroot(packages: tuple[str, ...], tmp_path: Path) -> None:
    bakes = bake_both(packages, tmp_path)
    for name in (ROOT_TAR, BOOT_TAR):
        fast, slow = members(bakes.fast / name), members(bakes.slow / name)
        assert len(slow) > 10
        differences = {path: (fast.get(path), slow.get(path)) for path in fast.keys() | slow.keys()}
        assert not {path: pair for path, pair in differences.items() if pair[0] != pair[1]}


def members(archive: Path) -> dict[str, Facts]:
    """Type, mode, owner, group, time, link, capabilities and content of everything in a layer, whiteouts included."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(file.read() if file else b"").hexdigest()
            kept = tuple(sorted(item for item in member.pax_headers.items() if item[0].startswith("SCHILY.xattr.")))
            owner = (member.type, member.mode, member.uid, member.gid, int(member.mtime))
            found[member.name] = (*owner, member.linkname, kept, content)
    return found
