"""`make bench`: all of it, measured in one run and printed as a table.

`python -m tests.bench --quick` bakes a few packages instead of all of the worker's, and repeats less; `--only nodes`
and the like measure one subject.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from builder.store import upkeep
from tests.bench import bakes, compression, downloads, flash, fleet, images, memory, nodes
from tests.bench.measure import say, table

SUBJECTS = {
    "nodes": nodes.rows,
    "fleet": fleet.rows,
    "compression": compression.rows,
    "flash": flash.rows,
    "memory": memory.rows,
    "downloads": downloads.rows,
    "images": images.rows,
    "bakes": bakes.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="bake a few packages, repeat less")
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="measure one subject; may be given again")
    chosen = parser.parse_args()
    cached = upkeep.default_root()
    cached.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in chosen.only or SUBJECTS:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=cached) as folder:
            found = SUBJECTS[name](Path(folder), chosen.quick)
        for row in found:
            say(f"{row.what}: {row.ours} | {row.other} | {row.ratio}")
        rows += found
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
