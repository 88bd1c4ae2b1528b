"""Python packages come by hash, as locked; what pyproject.toml calls enough is enough."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.host.run import run
from tests.conftest import SHIPPED

LOCKS = {"builder/setup/requirements.txt": ("build",), "builder/setup/requirements-dev.txt": ("build", "dev")}
"""Each lock, and the extras of pyproject.toml that it has."""
FLOOR_TESTS = """
    cli/test_bad.py cli/test_cli.py cli/test_terminal.py profile/test_profile.py lock/test_lock.py
    template/test_templates.py secrets/test_k3s_ca.py image/test_compressed_reading.py downloads
    publish/test_licences.py publish/test_packages.py publish/test_purl.py base/test_image_sources.py cli/test_doctor.py
"""


def locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """By package: `NAME==VERSION ; MARKER`, and the hashes of its files."""
    entries = (SHIPPED / name).read_text().replace("\\\n", " ").splitlines()
    parsed = [(Requirement(entry.partition("--hash=")[0]), re.findall(r"--hash=(\S+)", entry)) for entry in entries]
    return {canonicalize_name(requirement.name): (requirement, hashes) for requirement, hashes in parsed}


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((SHIPPED / "pyproject.toml").read_text())["project"]
    more = [text for extra in extras for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in (*project["dependencies"], *more)]


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_is_locked_as_it_is_asked_for(name: str) -> None:
    found = locked(name)
    for wanted in asked(LOCKS[name]):
        requirement, _ = found[canonicalize_name(wanted.name)]
        (version,) = requirement.specifier
        assert wanted.specifier.contains(version.version), f"{wanted}: {name} has {version}; `make requirements`"
    for requirement, hashes in found.values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_both_locks_agree() -> None:
    smaller, larger = map(locked, LOCKS)
    assert {name: str(smaller[name][0]) for name in smaller} == {name: str(larger[name][0]) for name in smaller}


def test_this_environment_is_the_locked_one() -> None:
    for name, (requirement, _) in locked("builder/setup/requirements-dev.txt").items():
        if requirement.marker is None or requirement.marker.evaluate():
            assert requirement.specifier.contains(metadata.version(name)), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_a_file_with_another_hash_is_not_installed(name: str, tmp_path: Path) -> None:
    requirement, hashes = locked(name)["idna"]
    wrong = tmp_path / "requirements.txt"
    wrong.write_text(f"{requirement} " + " ".join(f"--hash={one[:-4]}0000" for one in hashes) + "\n")
    words = ("install", "--no-deps", "--require-hashes", "--target", tmp_path / "out", "--requirement", wrong)
    refused = run([sys.executable, "-m", "pip", *words], check=False)
    assert refused.returncode != 0
    assert b"DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_set_up_and_container_install_by_hash_alone() -> None:
    for name in ("builder/setup/setup.sh", "docs/ci/Containerfile"):
        lines = re.findall(r"pip [^#\n]*\binstall\b.*", (SHIPPED / name).read_text())
        lines = [line for line in lines if "apt" not in line]
        assert lines
        assert all("--require-hashes" in line or "--no-deps" in line for line in lines), lines


def test_images_of_ci_are_pinned_or_say_how() -> None:
    for file in (SHIPPED / "docs/ci").iterdir():
        text = file.read_text()
        images = re.findall(r"^\s*(?:FROM|image:) (\S+)$", text, re.MULTILINE)
        assert images
        for image in images:
            assert "@sha256:" in image or f"podman inspect --format '{{{{.Digest}}}}' {image}" in text, file.name


@pytest.mark.soak
def test_the_lowest_versions_that_pyproject_allows_are_enough(tmp_path: Path) -> None:
    """The tests that use each library most, with the runtime packages at their floors and pytest as it is."""
    uv = Path(sys.executable).with_name("uv")
    floors = tmp_path / "floors.txt"
    run(
        [uv, "pip", "compile", "--system-certs", "pyproject.toml", "--resolution", "lowest-direct", "-o", floors],
        cwd=SHIPPED,
    )
    tests = [Requirement(text).name for text in ("pytest", "pytest-xdist", "hypothesis", "trustme")]
    run([sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv"])
    python = tmp_path / "venv/bin/python"
    run([uv, "pip", "install", "--system-certs", "--python", python, "-r", floors, *tests], timeout=900)
    words = [f"tests/{name}" for name in FLOOR_TESTS.split()]
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak", *words]
    run(command, cwd=SHIPPED, env={"PYTHONPATH": str(SHIPPED)}, timeout=1800)
