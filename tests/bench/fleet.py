"""Twenty nodes in one build, or as many as half of the free disk holds, against one: time, and bytes on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.host.run import run
from tests.bench.measure import Row, medians, say, seconds
from tests.bench.nodes import WORDS, build_all, build_node

_MOST = [f"node-{number:03}" for number in range(101, 121)]


def rows(work: Path, quick: bool) -> list[Row]:
    say("build one node, so that the cache is warm")
    source = build_node(work, _MOST[0])
    nodes = _MOST[: shutil.disk_usage(work).free // 2 // (source.stat().st_blocks * 512)]
    count, runs, folder = len(nodes), 1 if quick else 3, work / "nodes"
    say(f"one node, {count} nodes, and as many copies")

    sizes: dict[int, int] = {}

    def copied() -> float:
        folder.mkdir()
        taken = seconds(lambda: [run(["cp", "--sparse=always", source, folder / node]) for node in nodes])
        shutil.rmtree(folder)
        return taken

    def built(names: list[str]) -> float:
        """Finds everything but the nodes' images."""
        taken = seconds(lambda: build_all(folder, names))
        sizes[len(names)] = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
        shutil.rmtree(folder)
        return taken

    one, all_of_them, plain = medians(lambda: built(nodes[:1]), lambda: built(nodes), copied, runs=runs)
    commands = (
        f"pimu-build {nodes[0]} … {nodes[-1]} {' '.join(WORDS[:5])}",
        f"pimu-build {nodes[0]} …",
        f"cp, {count} times",
    )
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
