"""One small wrong project for each thing that can be wrong: the command must give the error in expect.txt, word for
word, and may have written nothing.

A folder in tests/bad/ is a case of tests/cases.py, with the usual command `pimu-build node-003 --role worker`. It may
hold
    published     the file of a published image, which is then the base `published`; or its parts:
    disk.sfdisk   the table of a disk of 24 MiB, in the words of sfdisk(8)
    disk.head     bytes that are laid over its beginning
    disk.size     bytes that it is cut off after
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests import cases
from tests.conftest import SHIPPED
from tests.tiny_image import BOOT_SIZE, BOOT_START, MIB, ROOT_START, partition

BAD = Path(__file__).parents[1] / "bad"
CASES = cases.folders(BAD)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_clear_error(case: Path, judge: cases.Judge) -> None:
    cases.furnish(case, judge.folder)
    if any(case.glob("published")) or any(case.glob("disk.*")):
        _publish(case, judge.folder)
    judge(case, "pimu-build node-003 --role worker")


def _publish(case: Path, folder: Path) -> None:
    """The case's image in the cache, as if it had been fetched, and Raspberry Pi OS pinned to it."""
    file = folder / "cache/published"
    file.parent.mkdir()
    if (case / "published").exists():
        shutil.copy(case / "published", file)
    else:
        partition(file, *cases.text(case / "disk.sfdisk").splitlines())
        with file.open("r+b") as disk:
            disk.write((case / "disk.head").read_bytes() if (case / "disk.head").exists() else b"")
        os.truncate(file, int(cases.text(case / "disk.size", str(file.stat().st_size))))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "cache/sha256").mkdir()
    file.rename(folder / "cache/sha256" / sha256)
    data = yaml.safe_load((SHIPPED / "profiles/bases/raspios-trixie.yaml").read_text())
    unknown = ("extracted_size", "extracted_sha256", "unconfirmed")
    source = {key: value for key, value in data["source"].items() if key not in unknown}
    data["source"] = {**source, "urls": ["https://example.org/pi.img"], "sha256": sha256}
    data["boot"] |= {"start": f"{BOOT_START // MIB}MiB", "size": f"{BOOT_SIZE // MIB}MiB"}
    data["root"] |= {"start": f"{ROOT_START // MIB}MiB"}
    (folder / "profiles/bases/published.yaml").write_text(yaml.safe_dump(data))
