"""A further node's compressed image, against compressing its image as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.host.run import run
from tests.bench.measure import Row, medians, say, seconds
from tests.bench.nodes import WORDS, build_all, build_node

_FURTHER = ("node-004", "node-005", "node-006", "node-007")


def rows(work: Path, quick: bool) -> list[Row]:
    say("compress the golden image once (minutes for xz)")
    return [further_nodes(work, "zst", "zstd -9 -T0"), *([] if quick else [further_nodes(work, "xz", "xz -6 -T0")])]


def further_nodes(work: Path, compression: str, command: str) -> Row:
    """Both are whole: ours stamps each node too, and has no raw image to begin with."""
    image = build_node(work, "node-003")
    compressed(work, ["node-003"], compression)
    say(f"four more nodes as .{compression}, and one image by {command}")
    packed = work / "whole"
    with packed.open("wb") as file:
        whole = seconds(lambda: file.write(run([*command.split(), "--stdout", image]).stdout))

    def anew(nodes: Sequence[str]) -> float:
        for path in work.glob("node-*"):
            path.unlink()
        return seconds(lambda: compressed(work, nodes, compression))

    four, one = medians(lambda: anew(_FURTHER), lambda: anew(_FURTHER[:1]), runs=3)
    size, other = (work / f"{_FURTHER[0]}.img.{compression}").stat().st_size, packed.stat().st_size
    each = four / len(_FURTHER)
    packed.unlink()
    return Row(
        f"nodes 2 to 5 as .img.{compression} in one build, each (median of 3); {size / other:.3f} of the size",
        f"{each:.2f} s; {one:.2f} s for one alone",
        f"{whole:.1f} s ({command} of a raw image)",
        f"{100 * each / whole:.1f} %; {100 * one / whole:.1f} % alone",
        "<= 5 %",
        (
            f"pimu-build {_FURTHER[0]} … {_FURTHER[-1]} {' '.join(WORDS[:5])} --compress {compression}",
            f"{command} node-003.img",
        ),
    )


def compressed(folder: Path, nodes: Sequence[str], compression: str) -> None:
    build_all(folder, nodes, "--compress", compression)
