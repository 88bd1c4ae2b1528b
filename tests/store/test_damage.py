"""One bit that the disk has changed, in each kind of thing that the cache holds: a build that reads it names it, makes
or fetches it anew, and its image is the same. What no build reads altogether, `pimu-build cache verify` finds.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from builder.base.imported import Importer
from builder.build import Built
from builder.errors import DamagedError
from builder.fetch import Cache, Pin, fetch
from builder.model.layer import BOOT_TAR, DPKG_STATUS, ROOT_TAR
from builder.model.lock import LockedImage, from_text
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.model.sources import ImageSource
from builder.project import Project
from builder.store.products import CONTENTS, INPUTS, Store, is_whole, require_whole
from tests.conftest import SHIPPED, copy_shipped
from tests.loop_device import blank, loop_device
from tests.loopback import serving
from tests.making import step
from tests.planned import DEBIAN
from tests.workshop import Workshop, flip, mirror

# What the builds of a whole project do --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    made.furnish()
    return made


def guest_layer(workshop: Workshop) -> Path:
    return workshop.only("layers", architecture="amd64")


def base_layer(workshop: Workshop) -> Path:
    return workshop.only("layers", architecture="arm64", lower=None, boot_mount="/boot/firmware")


def packages_layer(workshop: Workshop) -> Path:
    return workshop.only("layers", lower=base_layer(workshop).name)


def is_healed(workshop: Workshop, built: Built, damaged: Path, *words: str, settings: dict[str, str]) -> None:
    status, errors = workshop.run(*workshop.build_words(), *words, settings=settings)
    assert status == 0, errors
    assert f"{damaged} is damaged" in errors
    assert workshop.image() == Manifest.from_json(built.manifest.read_text(), "").image.model_dump(mode="json")
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == damaged.name if damaged.is_file() else is_whole(damaged)


@pytest.mark.disk
def test_a_damaged_guest_and_a_damaged_table_of_the_golden_image_are_made_anew(
    workshop: Workshop, built: Built
) -> None:
    golden = workshop.only("golden")
    guest = workshop.only("guests")
    flip(golden / "root.json")
    flip(guest / "disk.qcow2")
    status, errors = workshop.run(*workshop.build_words(), "--offline")
    assert status == 0, errors
    assert [line.split()[1] for line in errors.splitlines() if "is damaged" in line] == [str(golden), str(guest)]
    assert workshop.image() == Manifest.from_json(built.manifest.read_text(), "").image.model_dump(mode="json")
    assert is_whole(golden)
    assert is_whole(guest)


@pytest.mark.disk
def test_a_damaged_golden_image_is_made_anew_before_it_goes_to_a_disk(
    workshop: Workshop, locked: Path, tmp_path: Path
) -> None:
    golden = workshop.only("golden")
    flip(golden / "disk.img", 0.25)
    size, project = 2400 * 1024**2, copy_shipped(tmp_path / "project")
    shutil.copy(locked, project)
    with loop_device(blank(tmp_path / "disk", size)) as device:
        words = ("--role", "worker", "--base", DEBIAN, "--offline", "--expect-serial", str(size))
        status, errors = workshop.run("flash", "node-003", str(device), "--project", str(project), *words)
    assert status == 0, errors
    assert f"{golden} is damaged" in errors
    assert is_whole(golden)


@pytest.mark.disk
@pytest.mark.soak
def test_cache_verify_finds_what_no_build_hashes_and_the_image_is_written_anew(
    workshop: Workshop, built: Built
) -> None:
    """The golden image's bytes are copied unseen, into an image that its manifest does not fit."""
    golden = workshop.only("golden")
    flip(golden / "disk.img", 0.25)
    assert workshop.run(*workshop.build_words(), "--offline")[0] == 0
    status, errors = workshop.run("cache", "verify")
    assert (status, str(golden) in errors) == (4, True)
    assert not golden.exists()
    status, errors = workshop.run(*workshop.build_words(), "--offline")
    assert status == 0, errors
    written = Manifest.from_json((workshop.output() / "node-003.manifest.json").read_text(), "").image
    assert written == Manifest.from_json(built.manifest.read_text(), "").image


Finds = Callable[[Workshop], Path]
MADE: dict[str, tuple[Finds, str, tuple[str, ...]]] = {
    "base": (base_layer, ROOT_TAR, ("golden",)),
    "base's boot volume": (base_layer, BOOT_TAR, ("golden",)),
    "base's package list": (base_layer, DPKG_STATUS, ()),
    "role's packages": (packages_layer, ROOT_TAR, ("golden",)),
    "guest's layer": (guest_layer, ROOT_TAR, ("guests",)),
    "guest's kernel": (lambda workshop: workshop.only("guests"), "vmlinuz", ("golden",)),
    "inputs": (packages_layer, INPUTS, ()),
    "contents": (base_layer, CONTENTS, ()),
    "golden image's facts": (lambda workshop: workshop.only("golden"), "golden.json", ()),
}
"""A damage, its file, and the results that must be gone for a build to read that file."""


@pytest.mark.disk
@pytest.mark.soak
@pytest.mark.parametrize("what", MADE)
def test_what_was_made_is_made_anew(workshop: Workshop, built: Built, what: str) -> None:
    find, name, gone = MADE[what]
    damaged = find(workshop)
    workshop.forget(*gone)
    flip(damaged / name)
    is_healed(workshop, built, damaged, "--offline", settings={})


@pytest.mark.disk
@pytest.mark.soak
def test_host_programs_are_made_anew(workshop: Workshop, built: Built) -> None:
    layer = packages_layer(workshop)
    accel = workshop.cache / "accel" / json.loads((layer / INPUTS).read_text())["inputs"]["accel"]
    workshop.forget(f"layers/{layer.name}")
    flip(accel / "accel.tar")
    is_healed(workshop, built, accel, "--offline", settings={})


@pytest.mark.disk
@pytest.mark.soak
def test_a_package_is_fetched_anew(workshop: Workshop, built: Built) -> None:
    lock = from_text((SHIPPED / "pimu.lock").read_text(), "pimu.lock")
    deb = max(next(r for name, r in lock.resolutions.items() if " packages " in name).debs, key=lambda deb: deb.size)
    workshop.forget(f"layers/{packages_layer(workshop).name}")
    flip(workshop.cache / "sha256" / deb.sha256)
    with mirror() as site:
        is_healed(workshop, built, workshop.cache / "sha256" / deb.sha256, settings={"http_proxy": site.url})
        assert dict(site.asked) == {unquote(deb.url): 1}


# What each reader does ------------------------------------------------------------------------------------------------


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, name: str, text: str) -> None:
        self.lines.append(f"{name} {text}\n")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def made(store: Store) -> Path:
    def fill(fresh: Path) -> None:
        (fresh / "sub").mkdir()
        (fresh / "a").write_bytes(b"a" * 5000)
        (fresh / "sub/b").write_bytes(b"b" * 5000)

    return store.make(step("layers"), fill).folder


@pytest.mark.parametrize("name", ["a", "sub/b", CONTENTS, INPUTS])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_no_bit_of_a_made_thing_may_change(made: Path, name: str, share: float) -> None:
    require_whole(made)
    flip(made / name, share)
    with pytest.raises(DamagedError, match=f"{made}: is damaged"):
        require_whole(made)


def test_a_file_that_is_read_alone_is_judged_alone(made: Path) -> None:
    flip(made / "sub/b")
    require_whole(made, "a")
    with pytest.raises(DamagedError):
        require_whole(made, "a", "sub/b")
    (made / "a").unlink()
    with pytest.raises(DamagedError):
        require_whole(made, "a")


def test_a_thing_of_other_inputs_is_not_taken(store: Store, made: Path) -> None:
    flip(made / INPUTS)
    with pytest.raises(DamagedError):
        store.make(step("layers"), lambda _: None)
    store.remove_damaged(made)
    assert is_whole(store.make(step("layers"), lambda fresh: (fresh / "a").touch()).folder)


def test_what_another_build_has_made_anew_stays(store: Store, made: Path) -> None:
    store.remove_damaged(made)
    assert is_whole(made)


def test_a_download_that_another_build_has_fetched_anew_stays(tmp_path: Path) -> None:
    downloads = Cache(tmp_path)
    content = b"a package"
    sha256 = hashlib.sha256(content).hexdigest()
    downloads.files.mkdir()
    downloads.path(sha256).write_bytes(content)
    downloads.remove_damaged(sha256)
    downloads.require_whole(sha256)
    flip(downloads.path(sha256))
    with pytest.raises(DamagedError, match=sha256):
        downloads.require_whole(sha256)
    downloads.remove_damaged(sha256)
    assert not downloads.path(sha256).exists()


def test_a_damaged_image_is_neither_unpacked_nor_held_against_its_publisher(
    shipped_folder: Path, tmp_path: Path
) -> None:
    base = Project(shipped_folder).base("raspios-trixie")
    assert isinstance(base.source, ImageSource)
    source = base.source.model_copy(update={"size": 1000})
    assert source.sha256 is not None
    (tmp_path / "sha256").mkdir()
    (tmp_path / "sha256" / source.sha256).write_bytes(bytes(1000))
    importer = Importer(Cache(tmp_path), Store(tmp_path), Silent(), offline=True)
    with pytest.raises(DamagedError, match=source.sha256):
        importer.take("raspios-trixie", source)
    with pytest.raises(DamagedError, match=source.sha256):
        importer.read("raspios-trixie", base, LockedImage("", "", source.sha256, 1000, "", 1, ""))


def test_a_download_of_another_length_is_named_and_fetched_anew(tmp_path: Path) -> None:
    content = b"a package"
    pin = Pin("", hashlib.sha256(content).hexdigest(), len(content))
    downloads, said = Cache(tmp_path), Lines()
    downloads.files.mkdir()
    downloads.path(pin.sha256).write_bytes(content[:-1])
    with serving() as site:
        site.pages["/x.deb"] = content
        fetch([replace(pin, url=f"{site.url}/x.deb")], downloads, said)
    downloads.require_whole(pin.sha256)
    assert f"{downloads.path(pin.sha256)} is damaged" in "".join(said.lines)
