"""One more node from a warm cache, against a copy of its image and against virt-customize."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.fs import ext4
from builder.host.run import run
from builder.model.manifest import FileState, Manifest
from builder.store import upkeep
from tests.bench.measure import RUNS, Row, appliance, medians, no_kvm, say, seconds
from tests.emulated import ROOT
from tests.planned import DEBIAN

BUILD = (sys.executable, "-m", "builder")
WORDS = ("--role", "worker", "--base", DEBIAN, "--quiet", "--project", str(ROOT))


def rows(work: Path, quick: bool) -> list[Row]:
    say("build node-003, so that the cache is warm")
    image = build_node(work, "node-003")
    return [one_more_node(work), mounted_edits(image, work)]


def build_node(folder: Path, node: str) -> Path:
    start_build(folder, node, upkeep.default_root()).wait()
    image = folder / f"{node}.img"
    assert image.exists(), f"no image of {node}"
    return image


def build_all(folder: Path, nodes: Sequence[str], *words: str) -> None:
    """In one build."""
    env = {"HOME": os.environ["HOME"], "PIMU_CACHE": str(upkeep.default_root())}
    run([*BUILD, *nodes, *WORDS, "--output", folder, *words], cwd=ROOT, env=env)


def start_build(folder: Path, node: str, cached: Path) -> subprocess.Popen[bytes]:
    """The whole process, as a user starts it."""
    argv = [*BUILD, node, *WORDS, "--output", str(folder)]
    return subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "PIMU_CACHE": str(cached)}, stdout=subprocess.DEVNULL)


def one_node(folder: Path, node: str) -> float:
    """Seconds of a build that finds everything but the node's image."""
    (folder / f"{node}.img").unlink(missing_ok=True)
    return seconds(lambda: build_node(folder, node))


def one_more_node(work: Path) -> Row:
    say("one more node, and a plain copy of its image")
    image, copy = work / "node-004.img", work / "copy.img"

    def copied() -> float:
        copy.unlink(missing_ok=True)
        return seconds(lambda: run(["cp", "--sparse=always", image, copy]))

    build, plain = medians(lambda: one_node(work, "node-004"), copied)
    return Row(
        f"one more node, warm cache (median of {RUNS})",
        f"{build:.2f} s",
        f"{plain:.2f} s (cp)",
        f"{build / plain:.2f} x",
        "<= 1.5 x",
        (f"pimu-build node-004 {' '.join(WORDS[:5])}", "cp --sparse=always node-004.img copy.img"),
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
    other = seconds(lambda: run(["cp", "--sparse=always", image, work / "other.img"]))
    other += seconds(lambda: run(argv, env=appliance()))
    (work / "other.img").unlink()
    ours = statistics.median(one_node(work, "node-005") for _ in range(RUNS))
    return Row(
        f"one more node's {len(states)} files, the copy of the image included",
        f"{ours:.2f} s (median of {RUNS})",
        f"{other:.1f} s (virt-customize{no_kvm()})",
        f"{other / ours:.0f} x faster",
        ">= 20 x",
        (
            f"pimu-build node-005 {' '.join(WORDS[:5])}",
            "virt-customize -a copy.img --upload … --chmod …",
        ),
    )


def is_stamped(file: FileState, manifest: Manifest) -> bool:
    """Whether it is a file of the root volume that differs between nodes."""
    stamped = {edit["path"] for edit in manifest.plan["edits"] if edit["scope"] == "node" and edit["volume"] == "root"}
    return file.volume == "root" and file.type == "file" and file.path in stamped
