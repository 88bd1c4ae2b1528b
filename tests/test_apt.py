"""apt resolves against the target's archive and nothing else: signed by whom the profile says, locked as it was."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import pytest

from builder.errors import BuildError, DownloadError
from builder.model.lock import Resolution, from_text
from builder.model.progress import Silent
from builder.model.settings import AptSource
from builder.resolve import Resolver, upgrade
from builder.run import run
from builder.sources import Cache
from builder.store import Store
from tests.loopback import Site, serving

pytestmark = pytest.mark.disk

EPOCH = 1_700_000_000
UNTOUCHED = """
import json, subprocess, sys
from pathlib import Path
from builder import apt
from builder.model.settings import AptSource

source, work = AptSource.model_validate_json(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/apt"], check=True)
for name, text in json.loads(sys.argv[3]).items():
    path = Path("/etc/apt", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
made = apt.resolve(request="", sources=[source], architecture="arm64", packages=["top"], status=b"", work=work,
                   bootstrap=False)
print(*(deb.name for deb in made.debs))
"""


@dataclass
class Archive:
    """A Debian archive for arm64 on the loopback; `packages` by name, with further fields of their stanzas."""

    site: Site
    home: Path  # of GnuPG
    packages: dict[str, dict[str, str]] = field(default_factory=dict)

    def publish(self, signer: str | None = "archive") -> None:
        index = "\n".join(self._stanza(name, **fields) for name, fields in self.packages.items()).encode()
        self.site.pages["/dists/stable/main/binary-arm64/Packages.gz"] = packed = gzip.compress(index, mtime=0)
        sums = "".join(
            f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-arm64/{name}\n"
            for name, content in (("Packages", index), ("Packages.gz", packed))
        )
        release = (
            "Suite: stable\nCodename: stable\nArchitectures: arm64\nComponents: main\n"
            f"Date: {formatdate(EPOCH, usegmt=True)}\nSHA256:\n{sums}"
        )
        self.site.pages["/dists/stable/Release"] = release.encode()
        self.site.pages.pop("/dists/stable/InRelease", None)
        if signer:
            self.site.pages["/dists/stable/InRelease"] = self._gpg("--clearsign", "-u", signer, input=release.encode())

    def _stanza(self, name: str, version: str = "1.0-1", **fields: str) -> str:
        without_epoch = version.rpartition(":")[2]
        path, content = f"pool/main/{name}_{without_epoch}_arm64.deb", f"{name} {version}".encode()
        self.site.pages[f"/{path}"] = content
        facts = {
            "Package": name,
            "Version": version,
            "Architecture": "arm64",
            "Maintainer": "x <x@y>",
            "Description": name,
            "Filename": path,
            "Size": str(len(content)),
            "SHA256": hashlib.sha256(content).hexdigest(),
        }
        return "".join(f"{key}: {value}\n" for key, value in (facts | fields).items())

    def make_key(self, name: str) -> Path:
        self._gpg("--passphrase", "", "--quick-gen-key", name, "ed25519", "sign", "never")
        keyring = self.home / f"{name}.gpg"
        keyring.write_bytes(self._gpg("--export", name))
        return keyring

    def _gpg(self, *words: str, input: bytes | None = None) -> bytes:  # noqa: A002
        return run(["gpg", "--homedir", self.home, "--batch", "--quiet", *words], input=input).stdout

    def source(self, keyring: str = "archive") -> AptSource:
        key = str(self.home / f"{keyring}.gpg")
        return AptSource(uri=self.site.url, suites=("stable",), components=("main",), keyring=key)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A GnuPG home with the archive's key and a stranger's."""
    folder = tmp_path_factory.mktemp("gnupg")
    folder.chmod(0o700)
    archive = Archive(None, folder)  # type: ignore[arg-type]
    for name in ("archive", "stranger"):
        archive.make_key(name)
    yield folder
    run(["gpgconf", "--homedir", folder, "--kill", "all"])


@pytest.fixture
def archive(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        archive = Archive(site, home)
        archive.packages = {
            "top": {"Depends": "lib (>= 2)", "Recommends": "extra"},
            "lib": {"version": "1:2.0+b1"},
            "extra": {},
            "shell": {"Essential": "yes", "Priority": "required", "Pre-Depends": "libc"},
            "libc": {},
            "login": {"Priority": "required"},
        }
        archive.publish()
        yield archive


class Project:
    """A folder with a lock and a cache; each build reads the lock anew."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self.lock, self.archive = folder / "pimu.lock", archive
        self.cache, self.store = Cache(folder / "cache"), Store(folder / "cache")

    def resolve(
        self, *packages: str, status: bytes = b"", bootstrap: bool = False, key: str = "archive", offline: bool = False
    ) -> Resolution:
        resolver = Resolver(self.lock, self.cache, self.store, Silent(), offline=offline)
        sources = [self.archive.source(key)]
        return resolver.resolve(
            "pi", sources=sources, architecture="arm64", packages=packages, status=status, bootstrap=bootstrap
        )


@pytest.fixture
def project(tmp_path: Path, archive: Archive) -> Project:
    return Project(tmp_path, archive)


def named(resolution: Resolution) -> list[str]:
    return [deb.name for deb in resolution.debs]


def test_dependencies_come_and_recommendations_do_not(project: Project) -> None:
    made = project.resolve("top")
    assert named(made) == ["lib", "top"]
    assert (made.epoch, made.essential) == (EPOCH, ())
    lib = made.debs[0]
    assert (lib.version, lib.architecture) == ("1:2.0+b1", "arm64")
    assert unquote(lib.url) == f"{project.archive.site.url}/pool/main/lib_2.0+b1_arm64.deb"
    assert project.cache.path(lib.sha256).read_bytes() == b"lib 1:2.0+b1"


def test_a_bootstrap_names_what_is_essential(project: Project) -> None:
    made = project.resolve("top", bootstrap=True)
    assert named(made) == ["lib", "libc", "login", "shell", "top"]
    assert made.essential == ("libc", "shell")


def test_what_the_target_has_does_not_come_again(project: Project) -> None:
    status = (
        b"Package: lib\nStatus: install ok installed\nVersion: 1:2.0+b1\nArchitecture: arm64\n"
        b"Maintainer: x <x@y>\nDescription: x\n"
    )
    assert named(project.resolve("top", status=status)) == ["top"]


def test_the_lock_is_obeyed_until_the_request_changes(project: Project) -> None:
    first = project.resolve("top")
    assert from_text(project.lock.read_text(), "lock").resolutions == {"pi": first}

    project.archive.packages["lib"]["version"] = "1:3.0"
    project.archive.publish()
    asked = project.archive.site.asked.total()
    assert project.resolve("top") == project.resolve("top", offline=True) == first
    assert project.archive.site.asked.total() == asked

    second = project.resolve("top", "extra")
    assert [(deb.name, deb.version) for deb in second.debs][:2] == [("extra", "1.0-1"), ("lib", "1:3.0")]
    assert from_text(project.lock.read_text(), "lock").resolutions == {"pi": second}


def test_an_upgrade_takes_what_is_there_now_and_says_so(project: Project) -> None:
    project.resolve("top")
    project.archive.packages["lib"]["version"] = "1:3.0"
    project.archive.publish()
    assert upgrade(project.lock, project.store, Silent()) == ["pi: lib 1:2.0+b1 -> 1:3.0"]
    assert [deb.version for deb in project.resolve("top").debs] == ["1:3.0", "1.0-1"]


def test_a_locked_package_that_has_left_the_mirror_names_the_remedy(project: Project) -> None:
    made = project.resolve("top")
    project.cache.path(made.debs[0].sha256).unlink()
    del project.archive.site.pages["/pool/main/lib_2.0+b1_arm64.deb"]
    with pytest.raises(DownloadError, match=r"answers 404\n.*`pimu-build lock --upgrade`"):
        project.resolve("top")


# Signatures -----------------------------------------------------------------------------------------------------------


def refused(project: Project, key: str = "archive") -> str:
    """What is said of an archive that may not be used; nothing is locked."""
    with pytest.raises(DownloadError) as caught:
        project.resolve("top", key=key)
    assert caught.value.exit_code == 4
    assert caught.value.where == project.archive.site.url
    assert not project.lock.exists()
    return caught.value.message


def test_an_unsigned_archive_is_refused(project: Project) -> None:
    project.archive.publish(signer=None)
    assert "is not signed" in refused(project)


def test_a_strangers_signature_is_refused(project: Project) -> None:
    project.archive.publish(signer="stranger")
    assert "NO_PUBKEY" in refused(project)


def test_a_changed_release_file_is_refused(project: Project) -> None:
    release = project.archive.site.pages["/dists/stable/InRelease"]
    assert isinstance(release, bytes)
    project.archive.site.pages["/dists/stable/InRelease"] = release.replace(b"Suite: stable", b"Suite: forged")
    assert "BADSIG" in refused(project)


def test_a_changed_index_is_refused(project: Project) -> None:
    project.archive.site.pages["/dists/stable/main/binary-arm64/Packages.gz"] = gzip.compress(b"Package: top\n")
    assert "Hash Sum mismatch" in refused(project) or "unexpected size" in refused(project)


def test_without_a_keyring_nobody_is_trusted(project: Project) -> None:
    assert "NO_PUBKEY" in refused(project, key="nobody")


def test_a_package_that_is_not_what_the_index_says_is_refused(project: Project) -> None:
    project.archive.site.pages["/pool/main/top_1.0-1_arm64.deb"] = b"top 1.0-2"
    with pytest.raises(DownloadError, match=r"top_1.0-1_arm64.deb: has sha256"):
        project.resolve("top")


# What cannot be had ---------------------------------------------------------------------------------------------------


def test_a_package_that_does_not_exist_is_named(project: Project) -> None:
    with pytest.raises(BuildError, match="Unable to locate package nosuch") as caught:
        project.resolve("top", "nosuch")
    assert caught.value.hint == "correct `packages` in profiles/, or the sources of the base"
    assert not project.lock.exists()


def test_a_dependency_that_cannot_be_met_is_named(project: Project) -> None:
    project.archive.packages["lib"]["version"] = "1.0"
    project.archive.publish()
    with pytest.raises(BuildError, match=r"top : Depends: lib \(>= 2\)"):
        project.resolve("top")


# The host -------------------------------------------------------------------------------------------------------------


def test_the_hosts_apt_settings_change_nothing(archive: Archive, tmp_path: Path) -> None:
    host = {
        "apt.conf": 'APT::Install-Recommends "true";\nAcquire::http::Proxy "http://127.0.0.1:1";\n',
        "apt.conf.d/99host": 'APT::Architecture "s390x";\nAcquire::AllowInsecureRepositories "true";\n',
        "sources.list": "deb http://127.0.0.1:1/nowhere stable main\n",
        "sources.list.d/x.sources": "Types: deb\nURIs: http://127.0.0.1:1/nowhere\nSuites: x\nComponents: main\n",
        "preferences": "Package: lib\nPin: version *\nPin-Priority: -1\n",
        "preferences.d/x": "Package: top\nPin: version *\nPin-Priority: -1\n",
    }
    work = tmp_path / "work"
    work.mkdir()
    program = (sys.executable, "-c", UNTOUCHED, archive.source().model_dump_json(), work, json.dumps(host))
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "no_proxy": "127.0.0.1"}
    assert run(["unshare", "--mount", "--map-root-user", *program], env=environment).text == "lib top\n"
