"""`airgap`: k3s comes to the nodes in their image, fetched once by the build, checked, locked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import ConfigurationError, DownloadError
from builder.fetch import Cache
from builder.guest.airgap import LABEL, make_blobs
from builder.host import tools
from builder.host.run import run
from builder.lock.lock_file import read_lock
from builder.lock.resolve import Resolver
from builder.model.plan import Plan
from builder.model.progress import Silent
from builder.store.products import Store
from tests.loopback import Site, serving
from tests.mock_k3s import set_k3s
from tests.planned import pi_of, placeholder, plan_of

pytestmark = pytest.mark.disk

VERSION = "v1.36.5+k3s1"
CONTENTS = {
    "k3s": b"for amd64\n" * 5000,
    "k3s-arm64": b"for arm64\n" * 5000,
    "k3s-airgap-images-amd64.tar.zst": b"images\n" * 9000,
    "k3s-airgap-images-arm64.tar.zst": b"more images\n" * 9000,
}
EPOCH = 1_700_000_000


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        for architecture in ("amd64", "arm64"):
            lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in CONTENTS.items())
            site.pages[f"/{VERSION}/sha256sum-{architecture}.txt"] = "".join(lines).encode()
        site.pages |= {f"/{VERSION}/{name}": content for name, content in CONTENTS.items()}
        yield site


@pytest.fixture
def project(project_folder: Path, site: Site) -> Path:
    set_k3s(project_folder, "airgap: true", "images: tar.zst")
    cluster = project_folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("https://github.com/k3s-io/k3s/releases/download", site.url))
    return project_folder


def blobs(plan: Plan, project: Path, *, offline: bool = False, locked: bool = False, to: str = "a") -> dict[str, Path]:
    cache, store = Cache(project / "cache"), Store(project / to)
    resolver = Resolver(project / "pimu.lock", cache, store, Silent(), offline=offline, locked=locked)
    made = make_blobs(plan, resolver, cache=cache, store=store, epoch=EPOCH, progress=Silent())
    assert made is None or made.product.locked == resolver.lock.files
    return dict(made.files) if made else {}


def test_a_guest_gets_a_disk_that_is_a_server_of_releases(project: Path, tmp_path: Path) -> None:
    plan = plan_of(project)
    (image,) = blobs(plan, project).values()
    run(["mcopy", "-s", "-i", image, "::/", tmp_path / "disk"])
    folder = tmp_path / "disk" / VERSION
    assert sorted(path.name for path in folder.iterdir()) == [
        "k3s",
        "k3s-airgap-images-amd64.tar.zst",
        "sha256sum-amd64.txt",
    ]
    run(["sha256sum", "--check", "--strict", "sha256sum-amd64.txt"], cwd=folder)
    assert (folder / "k3s").read_bytes() == CONTENTS["k3s"]
    assert run(["blkid", "-o", "value", "-s", "LABEL", image]).text.strip() == LABEL
    assert pi_of(plan).entry("/usr/share/pimu/guest/airgap.img") is not None
    (again,) = blobs(plan, project, to="b").values()
    assert again.read_bytes() == image.read_bytes()


def test_another_mkfs_makes_another_disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(project)
    (first,) = blobs(plan, project).values()
    (same,) = blobs(plan, project).values()
    here = tools.version

    def newer(program: str, option: str = "--version") -> str:
        return "99.0" if program == "mkfs.fat" else here(program, option)

    monkeypatch.setattr(tools, "version", newer)
    (other,) = blobs(plan, project).values()
    assert first == same != other


def test_a_server_gets_program_and_images_for_its_own_processor(project: Path) -> None:
    plan = plan_of(project, role="server")
    made = {name: path.read_bytes() for name, path in blobs(plan, project).items()}
    assert made == {"k3s": CONTENTS["k3s-arm64"], "k3s-images": CONTENTS["k3s-airgap-images-arm64.tar.zst"]}
    pi = pi_of(plan, secrets=placeholder)
    program = pi.entry("/usr/local/bin/k3s")
    assert program is not None
    assert program.mode == 0o755
    assert pi.text("/var/lib/pimu/k3s-installed") == f"{VERSION}\n"
    assert pi.entry("/var/lib/rancher/k3s/agent/images/k3s-airgap-images-arm64.tar.zst") is not None


def test_what_was_fetched_is_locked_and_later_builds_ask_nobody(project: Path, site: Site) -> None:
    plan = plan_of(project)
    blobs(plan, project)
    locked = read_lock(project / "pimu.lock").files
    assert {name: file.sha256 for name, file in locked.items()} == {
        f"k3s {VERSION} {asset}": hashlib.sha256(CONTENTS[asset]).hexdigest()
        for asset in ("k3s", "k3s-airgap-images-amd64.tar.zst")
    }
    site.pages.clear()
    assert blobs(plan, project, offline=True, locked=True, to="b")


def test_a_lock_that_does_not_know_k3s_is_not_changed_unasked(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no answer for k3s v1\.36\.5\+k3s1 k3s as the profiles ask"):
        blobs(plan_of(project), project, locked=True)
    with pytest.raises(DownloadError, match=r"pimu.lock has no k3s v1\.36\.5\+k3s1 k3s"):
        blobs(plan_of(project), project, offline=True)


def test_a_program_that_is_not_what_its_checksum_says_is_refused(project: Path, site: Site) -> None:
    site.pages[f"/{VERSION}/k3s"] = b"mischief"
    with pytest.raises(DownloadError, match="its pin says"):
        blobs(plan_of(project), project)
    assert not read_lock(project / "pimu.lock").files


def test_the_profiles_own_checksum_is_asked_for_in_place_of_the_list(project: Path, site: Site) -> None:
    set_k3s(project, f"sha256: {{amd64: {'0' * 64}}}")
    with pytest.raises(DownloadError, match=f"its pin says {'0' * 64}"):
        blobs(plan_of(project), project)
    assert not site.asked[f"/{VERSION}/sha256sum-amd64.txt"]


def test_a_list_without_the_asset_is_said(project: Path, site: Site) -> None:
    site.pages[f"/{VERSION}/sha256sum-amd64.txt"] = b""
    with pytest.raises(DownloadError, match="names no k3s"):
        blobs(plan_of(project), project)


@pytest.mark.parametrize("role", ["worker", "server"])
def test_without_airgap_nothing_of_k3s_is_fetched(project_folder: Path, role: str) -> None:
    plan = plan_of(project_folder, role=role)
    assert blobs(plan, project_folder, offline=True, locked=True) == {}
