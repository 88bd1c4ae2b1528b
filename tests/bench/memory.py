"""Memory of a build that makes everything."""

from __future__ import annotations

import time
from pathlib import Path

from builder.store import upkeep
from tests.bench.measure import MIB, Row, say
from tests.bench.nodes import WORDS, start_build

SHARED = ("accel", "sha256")


def rows(work: Path, quick: bool) -> list[Row]:
    """All layers, the guest, golden image and stamp made anew. The memory that processes share is counted once; a tmpfs
    that layers are baked in, where there is plenty of memory, is told beside it."""
    say("memory of a build that makes everything from the packages (minutes)")
    cached = work / "cache"
    cached.mkdir()
    for name in SHARED:
        (cached / name).symlink_to(upkeep.default_root() / name)
    process = start_build(work, "node-006", cached)
    highest, before, most = 0, shared_memory(), 0
    while process.poll() is None:
        highest = max(highest, sum(proportional_size(pid) for pid in family(process.pid)))
        most = max(most, shared_memory() - before)
        time.sleep(0.1)
    assert process.returncode == 0
    row = Row(
        "peak memory of a build, all made anew",
        f"{highest / MIB:.0f} MiB (and {most / MIB:.0f} MiB of tmpfs, where three times as much is free)",
        "",
        "",
        "< 300 MB",
        (f"pimu-build node-006 {' '.join(WORDS[:5])}  (PSS of the process tree, sampled)",),
    )
    return [row]


def shared_memory() -> int:
    """Bytes in tmpfs and the like, of the whole machine (proc_meminfo(5), Shmem)."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Shmem:"))
    return int(line.split()[1]) << 10


def family(pid: int) -> list[int]:
    """A process and all its descendants (proc_pid_task_children(5))."""
    found, pending = [], [pid]
    while pending:
        here = pending.pop()
        found.append(here)
        for children in Path(f"/proc/{here}/task").glob("*/children"):
            try:
                pending += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # it has ended
    return found


def proportional_size(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
