"""Hostile input: one folder for each kind in tests/hostile/, one folder in it for each case.

The command must refuse the case in the words of expect.txt, in little time and memory, and must have written nothing
anywhere.

A folder is a case of tests/cases.py, with the usual command `pimu-build plan node-003 --role worker`. It may hold
    prepare.sh    run by bash in the project's folder first: makes fifos, links and huge files, which git cannot keep.
                  OUTSIDE is a folder beside the project that stands for the rest of the host.
Kinds that no command line shows (archives, signatures, maintainer scripts) have test files of their own, named
test_KIND.py in this folder, and keep their cases in the same folders.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cases

HOSTILE = Path(__file__).parent
CASES = [case for kind in cases.folders(HOSTILE) for case in cases.folders(kind) if (case / "expect.txt").exists()]
SECONDS = 10
"""Generous for a busy machine with two tests side by side; what the cases are about would take minutes, or for ever."""
MEMORY = 2 << 30


@pytest.fixture
def small_memory() -> Iterator[None]:
    """No more address space than what this process has now and 2 GiB: a file that is read whole is an error soon."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_hostile_input_is_refused(case: Path, judge: cases.Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    cases.furnish(case, judge.folder)
    judge.outside.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(judge.outside))
    if (case / "prepare.sh").exists():
        script = ["bash", "-euo", "pipefail", str(case / "prepare.sh")]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OUTSIDE": str(judge.outside)}
        subprocess.run(script, cwd=judge.folder, env=environment, check=True)
    assert judge(case, "pimu-build plan node-003 --role worker") < SECONDS
