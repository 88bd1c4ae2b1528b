"""A row of the table, and how its figures are taken."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.host.run import run
from builder.machines.appliance import kvm_usable

RUNS = 9
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """`commands` are ours and, where there is one, the other's."""

    what: str
    ours: str
    other: str
    ratio: str
    wanted: str
    commands: tuple[str, ...]


def say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


def seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def shell(script: str, *words: str | Path, env: Mapping[str, str] | None = None) -> None:
    """`words` are $1 and so on."""
    run(["sh", "-euc", script, "sh", *words], env=env)


def appliance() -> dict[str, str]:
    """Variables with which libguestfs's own tools start as the builder starts libguestfs."""
    return {"LIBGUESTFS_BACKEND": "direct"} | ({} if kvm_usable() else {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"})


def no_kvm() -> str:
    return "" if kvm_usable() else ", no KVM"


def medians(*ways: Callable[[], float], runs: int = RUNS) -> list[float]:
    """Each way's seconds. They take turns: the machine's mood meets all alike."""
    taken = [[way() for way in ways] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def table(rows: Sequence[Row]) -> str:
    lines = ["| | pimu-build | otherwise | ratio | wanted |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.ours} | {row.other} | {row.ratio} | {row.wanted} |" for row in rows]
    for row in rows:
        lines += ["", f"{row.what}:", *(f"    {command}" for command in row.commands)]
    return "\n".join(lines) + "\n"
