"""A role's packages, baked by the builder and installed by apt in an emulated chroot."""

from __future__ import annotations

from pathlib import Path

from tests.bench.measure import Row, say
from tests.emulated import bake_fast, ingredients, install_slowly

FEW = ("nmon", "tmux", "iptables", "dnsmasq-base")


def rows(work: Path, quick: bool) -> list[Row]:
    say("packages baked, and installed by apt in an emulated chroot (minutes)")
    given = ingredients(FEW if quick else (), work)
    layer, ours = bake_fast(given)
    count, other = install_slowly(given, layer)
    commands = ("builder.base.layers.Layers.add_packages", "chroot apt-get --no-install-recommends install *.deb")
    install = bake_row(f"unpack and configure {count} arm64 packages", ours.install, other.install, ">= 20 x", commands)
    whole = bake_row("the same and the initrd; ours with base and layer tar", ours.whole, other.whole, "", commands)
    return [install, whole]


def bake_row(what: str, ours: float, other: float, wanted: str, commands: tuple[str, ...]) -> Row:
    slow = f"{other:.0f} s (apt in a qemu-user chroot)"
    return Row(what, f"{ours:.1f} s", slow, f"{other / ours:.1f} x faster", wanted, commands)
