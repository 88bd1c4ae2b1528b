"""Raspberry Pi OS as the base, from a web server to a Pi that boots: on stand-ins for the published images, or on a
real one, PIMU_RASPIOS_IMG=FILE (of the suite PIMU_RASPIOS_SUITE, trixie by default).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from builder import boot, verify
from builder.build import BuildOptions, Built, build
from builder.errors import DownloadError
from builder.model.layer import ROOT_TAR
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from builder.store.products import is_whole
from tests.conftest import SHIPPED, copy_shipped
from tests.fetch.test_signatures import Key, make_key
from tests.image.test_reproducible import bootstrapped, is_made_elsewhere
from tests.loopback import Site, serving
from tests.standin import packed_image
from tests.store.test_damage import Lines
from tests.target import Target, unpack
from tests.workshop import flip

pytestmark = pytest.mark.disk

KEY = SHIPPED / "profiles/access/id_ed25519"
OLDER = ("bookworm", "bullseye")
SUITES = ("trixie", *(pytest.param(suite, marks=pytest.mark.soak) for suite in OLDER))


@dataclass(frozen=True)
class Published:
    """An image on a server, and a project that pins it."""

    suite: str
    site: Site
    folder: Path

    @property
    def base(self) -> str:
        return f"raspios-{self.suite}"

    def options(self, output: Path, *, offline: bool = False) -> BuildOptions:
        return BuildOptions(output=output, cache=upkeep.default_root(), role="worker", base=self.base, offline=offline)


@pytest.fixture(scope="session")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("gpg") / "publisher", "publisher@example.org")


@pytest.fixture(scope="session", params=SUITES)
def published(
    request: pytest.FixtureRequest, publisher: Key, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    suite: str = request.param
    file = packed_image(suite)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    with serving() as site:
        site.pages = {
            "/standin.img.xz": file.read_bytes(),
            "/standin.img.xz.sha256": f"{sha256}  standin.img.xz\n".encode(),
            "/standin.img.xz.sig": publisher.sign(file),
            "/key.asc": publisher.public(),
        }
        folder = copy_shipped(tmp_path_factory.mktemp("project"))
        if (SHIPPED / "pimu.lock").exists():
            shutil.copy(SHIPPED / "pimu.lock", folder)
        profile = folder / f"profiles/bases/raspios-{suite}.yaml"
        data = yaml.safe_load(profile.read_text())
        data["source"] |= {
            "urls": [f"{site.url}/standin.img.xz"],
            "sha256": sha256,
            "signer": {"fingerprint": publisher.fingerprint, "key": f"{site.url}/key.asc"},
        }
        data["source"].pop("extracted_size", None)
        data["source"].pop("extracted_sha256", None)
        profile.write_text(yaml.safe_dump(data, sort_keys=False))
        # Alpine's ISO is another server's; here it is the Pi that is looked at.
        (folder / "profiles/nodes/node-003.yaml").write_text("guest: debian\n")
        yield Published(suite, site, folder)


@pytest.fixture(scope="session")
def raspios(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Built:
    options = published.options(tmp_path_factory.mktemp("output"))
    (made,) = build(Project(published.folder), ["node-003"], options, Silent())
    return made


@pytest.fixture(scope="session")
def inside(raspios: Built, tmp_path_factory: pytest.TempPathFactory) -> Target:
    manifest = Manifest.from_json(raspios.manifest.read_text(), "")
    base = raspios.plan.base
    folder = tmp_path_factory.mktemp("target")
    return unpack(raspios.image, manifest.layout, base.architecture, base.boot.mount, folder)


def test_the_image_is_confirmed_locked_and_taken_from_the_cache(
    raspios: Built, published: Published, publisher: Key, tmp_path: Path
) -> None:
    locked = Manifest.from_json(raspios.manifest.read_text(), "").lock[published.base]
    assert locked["signed_by"] == publisher.fingerprint
    assert locked["url"] == f"{published.site.url}/standin.img.xz"
    before = dict(published.site.asked)
    options = published.options(tmp_path, offline=True)
    (again,) = build(Project(published.folder), ["node-003"], options, Silent())
    assert again.manifest.read_text() == raspios.manifest.read_text()
    assert dict(published.site.asked) == before


@pytest.mark.soak
def test_another_user_elsewhere_another_day_imports_the_same(
    raspios: Built, published: Published, tmp_path: Path
) -> None:
    is_made_elsewhere(raspios, published.folder, tmp_path / "world", bootstrapped(), "--base", published.base)


@pytest.mark.soak
def test_a_base_that_the_disk_has_changed_is_read_from_its_image_anew(
    raspios: Built, published: Published, tmp_path: Path
) -> None:
    """In a cache that shares the bytes of the user's, but for the golden image: nobody would read the base again."""
    own, manifest = tmp_path / "cache", Manifest.from_json(raspios.manifest.read_text(), "")
    for kind in ("sha256", "imports", "layers", "accel", "guests"):
        shutil.copytree(upkeep.default_root() / kind, own / kind, symlinks=True, copy_function=os.link)
    image = manifest.lock[published.base]["extracted_sha256"]
    layers = [file.parent for file in own.glob("imports/*/step.json") if f'"image":"{image}"' in file.read_text()]
    layer = max(layers, key=lambda one: one.stat().st_mtime)  # that which the last build has used
    flip(layer / ROOT_TAR)
    said = Lines()
    options = replace(published.options(tmp_path / "output", offline=True), cache=own)
    (again,) = build(Project(published.folder), ["node-003"], options, said)
    assert f"{layer} is damaged" in "".join(said.lines)
    assert is_whole(layer)
    assert again.manifest.read_text() == raspios.manifest.read_text()


def test_an_image_that_its_publisher_does_not_confirm_is_refused(
    raspios: Built, published: Published, tmp_path: Path
) -> None:
    """Nothing is locked, and no image is written."""
    folder = tmp_path / "project"
    shutil.copytree(published.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("pimu.lock"))
    good = published.site.pages["/standin.img.xz.sig"]
    try:
        published.site.pages["/standin.img.xz.sig"] = b"forged"
        with pytest.raises(DownloadError, match="is not signed by"):
            build(Project(folder), ["node-003"], published.options(tmp_path / "output"), Silent())
    finally:
        published.site.pages["/standin.img.xz.sig"] = good
    assert '"raspios' not in (folder / "pimu.lock").read_text() if (folder / "pimu.lock").exists() else True
    assert not list((tmp_path / "output").glob("*.img"))


def test_nothing_of_the_stock_first_boot_is_left(inside: Target, raspios: Built) -> None:
    cmdline = (inside.boot / "cmdline.txt").read_text()
    assert not {"resize", "init=/usr/lib/raspberrypi-sys-mods/firstboot"} & set(cmdline.split())
    assert f"root=PARTUUID={raspios.plan.identity.partuuid}-02" in cmdline.split()
    fstab = (inside.tree / "etc/fstab").read_text()
    assert f"PARTUUID={raspios.plan.identity.partuuid}-01" in fstab
    assert "cb15ae4d" not in fstab + cmdline
    units = inside.tree / "etc/systemd/system"
    masked = {"userconfig.service", "regenerate_ssh_host_keys.service"}
    masked |= {"rpi-resize.service"} if raspios.plan.base.growth == "resize-word" else {"resize2fs_once.service"}
    assert {unit for unit in masked if (units / unit).readlink() != Path("/dev/null")} == set()


def test_the_user_is_ours_and_the_first_one_is_gone(inside: Target) -> None:
    etc = inside.tree / "etc"
    accounts = {line.split(":")[0]: line.split(":") for line in (etc / "passwd").read_text().splitlines()}
    assert "pi" not in accounts
    assert accounts["pimu"][2:4] == ["1000", "1000"]
    assert accounts["pimu"][6] == "/bin/bash"
    groups = {line.split(":")[0]: line.split(":")[3] for line in (etc / "group").read_text().splitlines()}
    assert {name for name in ("sudo", "gpio", "video") if groups[name] != "pimu"} == set()
    assert not (etc / "sudoers.d/010_pi-nopasswd").exists()
    assert not (etc / "ssh/sshd_config.d/rename_user.conf").exists()


def test_the_overclock_is_for_a_pi_4_only(inside: Target) -> None:
    config = (inside.boot / "config.txt").read_text()
    block = config[config.index("# BEGIN pimu") :]
    assert "[pi4]\narm_freq=2000\nover_voltage=6\n[all]" in block
    assert config.index("[cm5]") < config.index("arm_freq")


def test_the_images_programs_accept_what_was_baked(inside: Target) -> None:
    said = inside.run(
        "mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && sshd -t"
        " && visudo -c && dpkg --audit"
    )
    assert said.status == 0, said.output


def test_verify_finds_every_edit(raspios: Built) -> None:
    manifest = Manifest.from_json(raspios.manifest.read_text(), "")
    assert verify.verify(raspios.image, manifest, Silent()).files > 80


@pytest.mark.soak
@pytest.mark.boot
def test_it_boots_as_a_pi(raspios: Built, tmp_path: Path) -> None:
    if raspios.plan.base.suite == "bullseye":
        pytest.skip("its kernel is 5.10, and the published image has no initrd: the boot check is for the later ones")
    manifest = Manifest.from_json(raspios.manifest.read_text(), "")
    results = boot.check(raspios.image, manifest, KEY, tmp_path, Silent())
    assert [result.describe() for result in results if not result.passed] == []
