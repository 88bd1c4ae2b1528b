"""apt resolves against the target's archive and nothing else: signed by whom the profile says, locked as it was."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import pytest

from builder.errors import BuildError, ConfigurationError, DownloadError
from builder.fetch import Cache
from builder.host.run import run
from builder.lock.relock import Relocker
from builder.lock.resolve import Resolver
from builder.model.lock import Resolution, from_text
from builder.model.progress import Silent
from builder.model.sources import AptSource
from builder.store.products import Store
from tests.loopback import Site, serving

pytestmark = pytest.mark.disk

EPOCH = 1_700_000_000
_FIRST = "1.0-1"
UNTOUCHED = """
import json, subprocess, sys
from pathlib import Path
from builder.lock import apt
from builder.model.sources import AptSource

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


def package(control: str) -> bytes:
    """A .deb without files (deb(5))."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x/DEBIAN").mkdir(parents=True)
        (Path(folder) / "x/DEBIAN/control").write_text(control)
        words = ("dpkg-deb", "--build", "--root-owner-group", "-Znone", f"{folder}/x", f"{folder}/x.deb")
        run(words, env={"SOURCE_DATE_EPOCH": str(EPOCH)})
        return (Path(folder) / "x.deb").read_bytes()


@dataclass
class Archive:
    """A Debian archive for arm64 on the loopback; `packages` by name, with further fields of their stanzas."""

    site: Site
    home: Path  # of GnuPG
    packages: dict[str, dict[str, str]] = field(default_factory=dict)

    def publish(self, signer: str | None = "archive", epoch: int = EPOCH) -> None:
        index = "\n".join(self._stanza(name, **fields) for name, fields in self.packages.items()).encode()
        self.site.pages["/dists/stable/main/binary-arm64/Packages.gz"] = packed = gzip.compress(index, mtime=0)
        sums = "".join(
            f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-arm64/{name}\n"
            for name, content in (("Packages", index), ("Packages.gz", packed))
        )
        release = (
            "Suite: stable\nCodename: stable\nArchitectures: arm64\nComponents: main\n"
            f"Date: {formatdate(epoch, usegmt=True)}\nSHA256:\n{sums}"
        )
        self.site.pages["/dists/stable/Release"] = release.encode()
        self.site.pages.pop("/dists/stable/InRelease", None)
        if signer:
            self.site.pages["/dists/stable/InRelease"] = self._gpg("--clearsign", "-u", signer, input=release.encode())

    def newer(self, name: str, version: str, **fields: str) -> None:
        """Another version in the place of the one that is there, which is gone with its file, a second later."""
        old = self.packages[name]
        self.site.pages.pop(self._path(name, old.get("version", _FIRST)))
        self.packages[name] = {**old, **fields, "version": version}
        self.publish(epoch=EPOCH + 1)

    def _path(self, name: str, version: str) -> str:
        return f"/pool/main/{name}_{version.rpartition(':')[2]}_arm64.deb"

    def _stanza(self, name: str, version: str = _FIRST, **fields: str) -> str:
        facts = {
            "Package": name,
            "Version": version,
            "Architecture": "arm64",
            "Maintainer": "x <x@y>",
            "Description": name,
        }
        control = "".join(f"{key}: {value}\n" for key, value in (facts | fields).items())
        path, content = self._path(name, version), package(control)
        self.site.pages[path] = content
        sha256 = hashlib.sha256(content).hexdigest()
        return f"{control}Filename: {path.lstrip('/')}\nSize: {len(content)}\nSHA256: {sha256}\n"

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

    def upgrade(self, *names: str) -> list[str]:
        relocker = Relocker(self.lock, self.cache, self.store, Silent(), {}, [self.archive.source()])
        return [change.describe() for change in relocker.upgrade(names) if change.name != "tools"]

    def resolve(
        self,
        *packages: str,
        name: str = "pi",
        status: bytes = b"",
        bootstrap: bool = False,
        key: str = "archive",
        offline: bool = False,
    ) -> Resolution:
        resolver = Resolver(self.lock, self.cache, self.store, Silent(), offline=offline)
        sources = [self.archive.source(key)]
        return resolver.resolve(
            name, sources=sources, architecture="arm64", packages=packages, status=status, bootstrap=bootstrap
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
    assert run(["dpkg-deb", "--field", project.cache.path(lib.sha256), "Package", "Version"]).text == (
        "Package: lib\nVersion: 1:2.0+b1\n"
    )


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


def test_what_cannot_be_beside_a_package_is_named_and_goes(project: Project) -> None:
    """As chrony and systemd-timesyncd: each provides time-daemon, conflicts with it and replaces it."""
    daemon = {"Provides": "time-daemon", "Conflicts": "time-daemon", "Replaces": "time-daemon"}
    project.archive.packages |= {"chrony": daemon, "timesyncd": daemon}
    project.archive.publish()
    status = (
        "Package: timesyncd\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: arm64\n"
        "Maintainer: x <x@y>\nDescription: x\n" + "".join(f"{key}: {value}\n" for key, value in daemon.items())
    ).encode()
    made = project.resolve("chrony", status=status)
    assert (named(made), made.removed) == (["chrony"], ("timesyncd",))
    assert project.resolve("chrony", status=status, offline=True) == made
    assert project.resolve("top", status=status).removed == ()


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
    project.archive.newer("lib", "1:3.0")
    assert project.upgrade() == ["pi: lib 1:2.0+b1 -> 1:3.0"]
    assert [deb.version for deb in project.resolve("top").debs] == ["1:3.0", "1.0-1"]


def versions(resolution: Resolution) -> dict[str, str]:
    return {deb.name: deb.version for deb in resolution.debs}


def test_one_package_is_renewed_and_the_rest_stays(project: Project) -> None:
    """Also the one whose version the archive has no longer; what the new one needs comes along."""
    first = project.resolve("top", "extra")
    project.archive.packages["new"] = {}
    project.archive.newer("lib", "1:3.0", Depends="new")
    project.archive.newer("extra", "9.0")
    assert project.upgrade("lib") == ["pi: lib 1:2.0+b1 -> 1:3.0", "pi: new - -> 1.0-1"]

    second = project.resolve("top", "extra")
    assert versions(second) == {"extra": "1.0-1", "lib": "1:3.0", "new": "1.0-1", "top": "1.0-1"}
    assert {deb for deb in first.debs if deb.name != "lib"} < set(second.debs)
    assert second.epoch == first.epoch == EPOCH
    assert {deb.name: deb.epoch for deb in second.debs} == {"extra": 0, "lib": EPOCH + 1, "new": EPOCH + 1, "top": 0}
    assert project.upgrade("lib") == []


def test_what_a_renewed_package_cannot_be_without_is_renewed_with_it(project: Project) -> None:
    project.resolve("top", "extra")
    project.archive.newer("top", "2.0", Depends="lib (>= 1:3)")
    project.archive.newer("lib", "1:3.0")
    project.archive.newer("extra", "9.0")
    assert project.upgrade("top") == ["pi: lib 1:2.0+b1 -> 1:3.0", "pi: top 1.0-1 -> 2.0"]


def test_what_a_renewed_package_breaks_is_renewed_with_it(project: Project) -> None:
    project.resolve("top", "extra")
    project.archive.newer("extra", "2.0", Breaks="lib (<< 1:3)")
    project.archive.newer("lib", "1:3.0")
    project.archive.newer("top", "2.0", Depends="lib")
    assert project.upgrade("extra") == ["pi: extra 1.0-1 -> 2.0", "pi: lib 1:2.0+b1 -> 1:3.0"]


def test_a_package_of_a_bootstrap_is_renewed_and_the_essential_ones_stay(project: Project) -> None:
    first = project.resolve("top", bootstrap=True)
    for name in ("libc", "login", "top"):
        project.archive.newer(name, "2.0")
    project.archive.newer("shell", "2.0", Essential="no")
    assert project.upgrade("login") == ["pi: login 1.0-1 -> 2.0"]
    assert project.resolve("top", bootstrap=True).essential == first.essential == ("libc", "shell")


def test_a_locked_thing_is_renewed_by_its_name_and_others_stay(project: Project) -> None:
    project.resolve("top", name="guest debian amd64")
    project.resolve("top", name="debian-trixie arm64")
    project.archive.newer("lib", "1:3.0")
    before = from_text(project.lock.read_text(), "lock")
    assert project.upgrade("guest debian") == ["guest debian amd64: lib 1:2.0+b1 -> 1:3.0"]
    after = from_text(project.lock.read_text(), "lock")
    assert after.resolutions["debian-trixie arm64"] == before.resolutions["debian-trixie arm64"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("libb", "did you mean lib?"),
        ("guests debian", "did you mean guest debian?"),
        ("tool", "did you mean tools?"),
        ("xyzzy", "`pimu-build lock` lists what is locked"),
    ],
)
def test_a_name_that_nothing_has_is_an_error(project: Project, name: str, hint: str) -> None:
    project.resolve("top", name="guest debian amd64")
    before = project.lock.read_text()
    with pytest.raises(ConfigurationError) as caught:
        project.upgrade("lib", name)
    assert str(caught.value) == f"pimu.lock: {name} is neither locked nor a package of what is\n  {hint}"
    assert project.lock.read_text() == before


INSTALLED = (
    b"Package: lib\nStatus: install ok installed\nVersion: 1:2.0+b1\nArchitecture: arm64\n"
    b"Maintainer: x <x@y>\nDescription: x\n"
)
ON_TOP = "pi packages 0123"


def layer(project: Project, status: bytes, kind: str) -> None:
    folder = project.store.root / kind / hashlib.sha256(status).hexdigest()
    folder.mkdir(parents=True)
    (folder / "dpkg-status").write_bytes(status)


@pytest.mark.parametrize("kind", ["imports", "layers"])
def test_what_is_on_a_base_is_renewed_on_the_base_that_is_locked(project: Project, kind: str) -> None:
    project.resolve("top", "extra", status=INSTALLED, name=ON_TOP)
    project.archive.newer("top", "2.0")
    project.archive.newer("extra", "2.0")
    with pytest.raises(ConfigurationError, match="top cannot be renewed alone: what pi packages 0123 is installed on"):
        project.upgrade("top")
    layer(project, INSTALLED, kind)
    assert project.upgrade("top") == [f"{ON_TOP}: top 1.0-1 -> 2.0"]
    assert project.upgrade() == [f"{ON_TOP}: extra 1.0-1 -> 2.0"]
    assert versions(project.resolve("top", "extra", status=INSTALLED, name=ON_TOP)) == {"top": "2.0", "extra": "2.0"}


def test_a_base_that_changes_takes_what_is_on_it_along(project: Project) -> None:
    """All of it renewed, the next build asks for newer packages on it; one package of it, they stay as they are."""
    project.resolve("lib")
    project.resolve("top", "extra", status=INSTALLED, name=ON_TOP)
    first = from_text(project.lock.read_text(), "lock").resolutions[ON_TOP]
    for name in ("lib", "extra", "top"):
        project.archive.newer(name, "1:3.0")
    assert project.upgrade("lib") == ["pi: lib 1:2.0+b1 -> 1:3.0"]
    status = INSTALLED.replace(b"1:2.0+b1", b"1:3.0")
    again = project.resolve("top", "extra", status=status, name=ON_TOP)
    assert (again.debs, again.epoch) == (first.debs, EPOCH)

    project.archive.newer("lib", "1:4.0")
    assert project.upgrade() == [
        "pi: lib 1:3.0 -> 1:4.0",
        f"{ON_TOP}: packages 2 locked -> what the next build finds",
    ]
    status = INSTALLED.replace(b"1:2.0+b1", b"1:4.0")
    assert versions(project.resolve("top", "extra", status=status, name=ON_TOP)) == {"extra": "1:3.0", "top": "1:3.0"}


def test_a_locked_package_that_has_left_the_mirror_names_the_remedy(project: Project) -> None:
    made = project.resolve("top")
    project.cache.path(made.debs[0].sha256).unlink()
    del project.archive.site.pages["/pool/main/lib_2.0+b1_arm64.deb"]
    with pytest.raises(DownloadError, match=r"answers 404\n.*`pimu-build lock --upgrade`"):
        project.resolve("top")


# Signatures -----------------------------------------------------------------------------------------------------------


def refused(project: Project, key: str = "archive") -> str:
    """The error about an archive that may not be used; nothing is locked."""
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
    good = project.archive.site.pages["/pool/main/top_1.0-1_arm64.deb"]
    assert isinstance(good, bytes)
    project.archive.site.pages["/pool/main/top_1.0-1_arm64.deb"] = good[::-1]
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
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "no_proxy": "127.0.0.1"}
    assert run(["unshare", "--mount", "--map-root-user", *program], env=environment).text == "lib top\n"
