"""`make bench`: what the design promises to be fast and small, measured in one run and printed as a table.

`python -m tests.bench --quick` bakes a few packages instead of all of the worker's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import cache
from builder.appliance import kvm_usable
from builder.disk import ext4
from builder.model.manifest import FileState, Manifest
from builder.run import run
from tests.emulated import ROOT, bake_fast, ingredients, install_slowly
from tests.planned import DEBIAN

FEW = ("nmon", "tmux", "iptables", "dnsmasq-base")
RUNS = 9
BUILD = (sys.executable, "-m", "builder")
WORDS = ("--role", "worker", "--base", DEBIAN, "--quiet", "--project", str(ROOT))
SHARED = ("accel", "sha256")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="bake a few packages instead of all of the worker's")
    quick = parser.parse_args().quick
    cached = cache.default_root()
    cached.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cached) as folder:
        work = Path(folder)
        say("build node-003, so that the cache is warm")
        image = build_node(work, "node-003")
        rows = [
            one_more_node(work),
            mounted_edits(image, work),
            memory(work),
            *bake(FEW if quick else (), work),
        ]
    lines = ["| | pimu-build | otherwise | ratio | wanted |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.ours} | {row.other} | {row.ratio} | {row.wanted} |" for row in rows]
    for row in rows:
        lines += ["", f"{row.what}:", *(f"    {command}" for command in row.commands)]
    sys.stdout.write("\n".join(lines) + "\n")


def say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


def build_node(folder: Path, node: str) -> Path:
    start_build(folder, node, cache.default_root()).wait()
    image = folder / f"{node}.img"
    assert image.exists(), f"no image of {node}"
    return image


def start_build(folder: Path, node: str, cached: Path) -> subprocess.Popen[bytes]:
    """The whole process, as a user starts it."""
    argv = [*BUILD, node, *WORDS, "--output", str(folder)]
    return subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "PIMU_CACHE": str(cached)}, stdout=subprocess.DEVNULL)


def one_node(folder: Path, node: str) -> float:
    """Seconds of a build that finds everything but the node's image."""
    (folder / f"{node}.img").unlink(missing_ok=True)
    begun = time.monotonic()
    build_node(folder, node)
    return time.monotonic() - begun


def seconds(argv: Sequence[str | Path]) -> float:
    begun = time.monotonic()
    run(argv)
    return time.monotonic() - begun


def one_more_node(work: Path) -> Row:
    """Medians of interleaved runs: the machine's mood meets both alike."""
    say("one more node, and a plain copy of its image")
    ours, copies = [], []
    image, copy = work / "node-004.img", work / "copy.img"
    for _ in range(RUNS):
        copy.unlink(missing_ok=True)
        ours.append(one_node(work, "node-004"))
        copies.append(seconds(["cp", "--sparse=always", image, copy]))
    build, plain = statistics.median(ours), statistics.median(copies)
    return Row(
        f"one more node, warm cache (median of {RUNS})",
        f"{build:.2f} s",
        f"{plain:.2f} s (cp)",
        f"{build / plain:.2f} x",
        "<= 1.5 x",
        (f"pimu-build node-004 {' '.join(WORDS[:3])}", "cp --sparse=always node-004.img copy.img"),
    )


def mounted_edits(image: Path, work: Path) -> Row:
    """The node's files on the root volume, as virt-customize would write them. It cannot run an arm64 chown here."""
    say("the same edits by virt-customize")
    manifest = Manifest.from_json(image.with_suffix(".manifest.json").read_text(), str(image))
    states = [file for file in manifest.files if is_stamped(file, manifest)]
    paths = [file.path.lstrip("/") for file in states]
    contents = ext4.read_files(image, manifest.layout.root_start, paths, work)
    argv: list[str | Path] = ["virt-customize", "--quiet", "--no-network", "--format", "raw", "-a", work / "other.img"]
    for number, (file, content) in enumerate(zip(states, contents, strict=True)):
        source = work / f"upload-{number}"
        source.write_bytes(content)
        argv += ["--upload", f"{source}:{file.path}", "--chmod", f"{file.mode:04o}:{file.path}"]
    settings = {} if kvm_usable() else {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    begun = time.monotonic()
    run(["cp", "--sparse=always", image, work / "other.img"])
    run(argv, env={"LIBGUESTFS_BACKEND": "direct", **settings})
    other = time.monotonic() - begun
    (work / "other.img").unlink()
    ours = statistics.median(one_node(work, "node-005") for _ in range(RUNS))
    return Row(
        f"one more node's {len(states)} files, the copy of the image included",
        f"{ours:.2f} s (median of {RUNS})",
        f"{other:.1f} s (virt-customize{', no KVM' if settings else ''})",
        f"{other / ours:.0f} x faster",
        ">= 20 x",
        (
            f"pimu-build node-005 {' '.join(WORDS[:3])}",
            f"{' '.join(f'{k}={v}' for k, v in settings.items())} virt-customize -a copy.img --upload … --chmod …",
        ),
    )


def is_stamped(file: FileState, manifest: Manifest) -> bool:
    """Whether it is a file of the root volume that differs between nodes."""
    stamped = {edit["path"] for edit in manifest.plan["edits"] if edit["scope"] == "node" and edit["volume"] == "root"}
    return file.volume == "root" and file.type == "file" and file.path in stamped


def memory(work: Path) -> Row:
    """All layers, the guest, golden image and stamp made anew. The memory that processes share is counted once; a tmpfs
    that layers are baked in, where there is plenty of memory, is told beside it."""
    say("memory of a build that makes everything from the packages (minutes)")
    cached = work / "cache"
    cached.mkdir()
    for name in SHARED:
        (cached / name).symlink_to(cache.default_root() / name)
    process = start_build(work, "node-006", cached)
    peak, before, most = 0, shared_memory(), 0
    while process.poll() is None:
        peak = max(peak, sum(proportional_size(pid) for pid in family(process.pid)))
        most = max(most, shared_memory() - before)
        time.sleep(0.1)
    assert process.returncode == 0
    return Row(
        "peak memory of a build, all made anew",
        f"{peak / MIB:.0f} MiB (and {most / MIB:.0f} MiB of tmpfs, where three times as much is free)",
        "",
        "",
        "< 300 MB",
        (f"pimu-build node-006 {' '.join(WORDS[:3])}  (PSS of the process tree, sampled)",),
    )


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


def bake(packages: Sequence[str], work: Path) -> list[Row]:
    say("packages baked, and installed by apt in an emulated chroot (minutes)")
    folder = work / "bakes"
    folder.mkdir()
    given = ingredients(packages, folder)
    ours = bake_fast(given)[1]
    count, other = install_slowly(given)
    commands = ("builder.bases.Bakery.add_packages", "chroot apt-get --no-install-recommends install *.deb")
    install = bake_row(f"unpack and configure {count} arm64 packages", ours.install, other.install, ">= 20 x", commands)
    whole = bake_row("the same and the initrd; ours with base and layer tar", ours.whole, other.whole, "", commands)
    return [install, whole]


def bake_row(what: str, ours: float, other: float, wanted: str, commands: tuple[str, ...]) -> Row:
    slow = f"{other:.0f} s (apt in a qemu-user chroot)"
    return Row(what, f"{ours:.1f} s", slow, f"{other / ours:.1f} x faster", wanted, commands)


if __name__ == "__main__":
    main()
