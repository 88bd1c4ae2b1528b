"""The built image, verified as a file and lived through as a machine: what `verify` and `boot --check` say of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder import boot, verify
from builder.build import Built
from builder.errors import VerifyMismatchError
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from tests.conftest import SHIPPED

KEY = SHIPPED / "profiles/access/id_ed25519"


@pytest.mark.disk
def test_the_image_is_what_its_manifest_says(built: Built, manifest: Manifest) -> None:
    report = verify.verify(built.image, manifest, Silent())
    assert report.files > 80


@pytest.mark.disk
def test_one_byte_of_a_checked_file_is_enough(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    copy = tmp_path / built.image.name
    shutil.copyfile(built.image, copy)
    content = copy.read_bytes()
    place = content.index(b"arm_freq=2000")
    with copy.open("r+b") as file:
        file.seek(place + len(b"arm_freq="))
        file.write(b"3")
    with pytest.raises(VerifyMismatchError, match=r"config\.txt"):
        verify.verify(copy, manifest, Silent())


def failures(results: list[boot.CheckResult]) -> list[str]:
    return [result.describe() for result in results if not result.passed]


@pytest.mark.boot
def test_a_pi_boots_runs_its_guest_and_boots_again(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    results = boot.check(built.image, manifest, KEY, tmp_path, Silent())
    assert failures(results) == []
    assert "guest powered down cleanly" in {result.name for result in results}


@pytest.mark.soak
@pytest.mark.parametrize("step", boot.CUTS)
def test_a_power_cut_in_the_first_boot_is_healed_by_the_next(
    built: Built, manifest: Manifest, tmp_path: Path, step: str
) -> None:
    assert failures(boot.check_power_cut(built.image, manifest, KEY, tmp_path, Silent(), step=step)) == []
