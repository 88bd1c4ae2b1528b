"""Twenty nodes in one build, against one: time, and bytes on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from builder.run import run
from tests.bench.measure import Row, medians, say, seconds
from tests.bench.nodes import BUILD, WORDS, build_node
from tests.emulated import ROOT

NODES = [f"node-{number:03}" for number in range(101, 121)]


def rows(work: Path, quick: bool) -> list[Row]:
    say("build one node, so that the cache is warm")
    build_node(work, NODES[0])
    say(f"one node, {len(NODES)} nodes, and as many copies")
    runs = 1 if quick else 3
    copies = work / "copies"

    sizes: dict[int, int] = {}

    def copied() -> float:
        copies.mkdir()
        source = work / f"{NODES[0]}.img"
        taken = seconds(lambda: [run(["cp", "--sparse=always", source, copies / node]) for node in NODES])
        shutil.rmtree(copies)
        return taken

    def built(nodes: list[str]) -> float:
        """Finds everything but the nodes' images."""
        env = {"HOME": os.environ["HOME"], **{key: os.environ[key] for key in ("PIMU_CACHE",) if key in os.environ}}
        taken = seconds(lambda: run([*BUILD, *nodes, *WORDS, "--output", copies], cwd=ROOT, env=env))
        sizes[len(nodes)] = sum(path.stat().st_blocks * 512 for path in copies.iterdir())
        shutil.rmtree(copies)
        return taken

    one, all_of_them, plain = medians(lambda: built(NODES[:1]), lambda: built(NODES), copied, runs=runs)
    commands = (
        f"pimu-build {NODES[0]} … {NODES[-1]} {' '.join(WORDS[:5])}",
        f"pimu-build {NODES[0]} …",
        "cp, 20 times",
    )
    count = len(NODES)
    return [
        Row(
            f"{count} nodes, warm cache (median of {runs})",
            f"{all_of_them:.1f} s",
            f"{one:.2f} s for one; {plain:.1f} s ({count} times cp --sparse=always)",
            f"{all_of_them / one:.1f} times one; {all_of_them / plain:.2f} x of cp",
            f"<= {count} times one",
            commands,
        ),
        Row(
            f"bytes on the disk of {count} nodes",
            f"{sizes[count] / 1e9:.2f} GB",
            f"{sizes[1] / 1e9:.2f} GB for one",
            f"{sizes[count] / sizes[1]:.1f} times one",
            "",
            (f"{commands[0]}; du", f"{commands[1]}; du"),
        ),
    ]
