"""The cache is filled before a build needs it, from servers or by hand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from builder.model.lock import Deb, Lock, Resolution, from_text, to_text
from tests.fetch.test_signatures import make_key
from tests.loopback import Site, serving

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]
IMAGE, PACKAGE = b"an image" * 1000, b"a package"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def site(project_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with the image of raspios-trixie and a package that is locked."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        site.pages = {"/image.img.xz": IMAGE, "/debian/pool/x.deb": PACKAGE}
        profile = project_folder / "profiles/bases/raspios-trixie.yaml"
        text = re.sub(r"- https://downloads.*", f"- {site.url}/image.img.xz", profile.read_text())
        profile.write_text(re.sub(r"^  sha256: .*", f"  sha256: {sha256(IMAGE)}", text, flags=re.MULTILINE))
        deb = Deb("xz", "1", "arm64", f"{site.url}/debian", "pool/x.deb", sha256(PACKAGE), len(PACKAGE))
        (project_folder / "pimu.lock").write_text(to_text(Lock({"base": Resolution("{}", 1, (deb,))})))
        yield site


def cached(folder: Path) -> set[str]:
    return {path.name for path in (folder / "cache/sha256").glob("*") if not path.suffix}


def test_what_is_locked_and_the_bases_image_are_fetched(pimu: Run, project_folder: Path, site: Site) -> None:
    assert pimu("fetch", "--base", "debian-trixie") == 0
    assert cached(project_folder) == {sha256(PACKAGE)}
    assert pimu("fetch") == 0
    assert cached(project_folder) == {sha256(PACKAGE), sha256(IMAGE)}
    assert site.asked == {"/image.img.xz": 1, "/debian/pool/x.deb": 1}


def test_a_package_that_has_left_the_mirror_comes_from_a_snapshot(
    pimu: Run, project_folder: Path, site: Site, capsys: Output
) -> None:
    """As in a build; and when no snapshot has it either, the way out is said."""
    profile = project_folder / "profiles/bases/debian-trixie.yaml"
    text = profile.read_text().replace("http://deb.debian.org/debian\n", f"{site.url}/debian/\n")
    profile.write_text(text.replace("http://snapshot.debian.org/archive/debian/", f"{site.url}/old/"))
    content = site.pages.pop("/debian/pool/x.deb")
    site.pages["/old/19700101T000001Z/pool/x.deb"] = content
    assert pimu("fetch", "--base", "debian-trixie") == 0
    assert cached(project_folder) == {sha256(PACKAGE)}

    (project_folder / "cache/sha256" / sha256(PACKAGE)).unlink()
    site.pages.clear()
    assert pimu("fetch", "--base", "debian-trixie") == 4
    said = capsys.readouterr().err
    assert f"{site.url}/old/19700101T000001Z/pool/x.deb: the server answers 404" in said
    assert "the package has left the mirror: `pimu-build lock --upgrade` takes its successor" in said


def test_files_from_elsewhere_are_known_by_their_hash(
    pimu: Run, project_folder: Path, site: Site, tmp_path: Path, capsys: Output
) -> None:
    file, other = tmp_path / "downloaded-somewhere", tmp_path / "other"
    file.write_bytes(IMAGE)
    other.write_bytes(IMAGE[:-1])
    assert pimu("fetch", "--import", str(file)) == 0
    assert f"{file}: {site.url}/image.img.xz" in capsys.readouterr().out
    assert pimu("fetch", "--import", str(other)) == 4
    said = capsys.readouterr().err
    assert f"{other}: is nothing that profiles/ or pimu.lock name: its sha256 is {sha256(IMAGE[:-1])}" in said
    assert cached(project_folder) == {sha256(IMAGE)}
    assert not site.asked


def test_a_server_that_is_not_there_names_the_way_out(
    pimu: Run, site: Site, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.fetch.download._PAUSE", 0.005)
    site.pages["/image.img.xz"] = lambda request: request.reply(b"", status=503)
    assert pimu("fetch") == 4
    said = capsys.readouterr().err
    assert f"{site.url}/image.img.xz: the server answers 503 (5 attempts)" in said
    assert "--base debian-trixie needs no image, only a Debian mirror" in said


def test_nothing_to_fetch_is_told(pimu: Run, project_folder: Path, capsys: Output) -> None:
    assert pimu("fetch", "--base", "debian-trixie") == 3
    assert "pimu.lock: nothing is locked yet, and the base is no image" in capsys.readouterr().err


@pytest.mark.disk
def test_a_guests_iso_is_fetched_confirmed_and_locked(
    pimu: Run, project_folder: Path, site: Site, tmp_path: Path, capsys: Output
) -> None:
    key, iso = make_key(tmp_path / "gpg", "alpine@example.org"), tmp_path / "alpine.iso"
    iso.write_bytes(IMAGE)
    site.pages |= {
        "/alpine.iso": IMAGE,
        "/alpine.iso.sha256": f"{sha256(IMAGE)}  alpine.iso\n".encode(),
        "/alpine.iso.asc": key.sign(iso, armor=True),
        "/key.asc": key.public(),
    }
    profile = project_folder / "profiles/guests/alpine.yaml"
    data = yaml.safe_load(profile.read_text())
    data["source"] |= {
        "urls": [f"{site.url}/alpine.iso"],
        "sha256": sha256(IMAGE),
        "signer": {"fingerprint": key.fingerprint, "key": f"{site.url}/key.asc"},
    }
    profile.write_text(yaml.safe_dump(data))
    assert pimu("fetch", "--base", "debian-trixie", "--guest", "alpine") == 0
    assert f"guest alpine: {site.url}/alpine.iso" in capsys.readouterr().out
    assert cached(project_folder) == {sha256(PACKAGE), sha256(IMAGE)}
    locked = from_text((project_folder / "pimu.lock").read_text(), "").images["guest alpine"]
    assert (locked.sha256, locked.signed_by) == (sha256(IMAGE), key.fingerprint)

    site.pages["/alpine.iso"] = other = IMAGE[:-1] + b"?"
    (project_folder / "cache/sha256" / sha256(IMAGE)).unlink()
    assert pimu("fetch", "--base", "debian-trixie", "--guest", "alpine") == 4
    said = capsys.readouterr().err
    assert f"has sha256 {sha256(other)}, its pin says {sha256(IMAGE)}" in said
    assert "correct the pin in profiles/guests/alpine.yaml" in said
