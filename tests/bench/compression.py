"""A further node's compressed image, against compressing its image as a whole."""

from __future__ import annotations

import statistics
from pathlib import Path

from builder.run import run
from tests.bench.measure import Row, say, seconds
from tests.bench.nodes import WORDS, build_all, build_node

_FURTHER = ("node-004", "node-005", "node-006", "node-007")


def rows(work: Path, quick: bool) -> list[Row]:
    say("compress the golden image once (minutes for xz)")
    return [further_nodes(work, "zst", "zstd -9 -T0"), *([] if quick else [further_nodes(work, "xz", "xz -6 -T0")])]


def further_nodes(work: Path, compression: str, command: str) -> Row:
    """Both are whole: ours stamps the node too, and has no raw image to begin with."""
    image = build_node(work, "node-003")
    compressed(work, "node-003", compression)
    say(f"four more nodes as .{compression}, and one image by {command}")
    ours = statistics.median(seconds(lambda node=node: compressed(work, node, compression)) for node in _FURTHER)  # type: ignore[misc]
    packed = work / "whole"
    with packed.open("wb") as file:
        whole = seconds(lambda: file.write(run([*command.split(), "--stdout", image]).stdout))
    size, other = (work / f"node-004.img.{compression}").stat().st_size, packed.stat().st_size
    for path in work.glob("*.img*"):
        path.unlink()
    packed.unlink()
    return Row(
        f"a further node as .img.{compression} (median of {len(_FURTHER)}); {size / other:.3f} of the size",
        f"{ours:.2f} s",
        f"{whole:.1f} s ({command} of a raw image)",
        f"{100 * ours / whole:.1f} %",
        "<= 5 %",
        (f"pimu-build node-004 {' '.join(WORDS[:5])} --compress {compression}", f"{command} node-003.img"),
    )


def compressed(folder: Path, node: str, compression: str) -> None:
    build_all(folder, [node], "--compress", compression)
