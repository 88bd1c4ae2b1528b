"""Published files are taken once, by what their publisher says of them, and by their hash from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from builder.errors import DownloadError
from builder.fetch import Cache
from builder.fetch.upstream import Named, take
from builder.host.run import run
from builder.model.progress import Silent
from builder.model.sources import CloudImageSource, PublishedFile
from builder.project import Project
from tests.conftest import SHIPPED
from tests.fetch.test_signatures import Key, make_key
from tests.loopback import Site, serving

pytestmark = pytest.mark.disk

CONTENT = b"a cloud image " * 1000
SHA256, SHA512 = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha512(CONTENT).hexdigest()


@dataclass(frozen=True)
class Shelf:
    """A server with a signed file, and where it is taken to."""

    site: Site
    cache: Cache
    key: Key

    def wanted(self, **other: Any) -> Named:
        said: dict[str, Any] = {
            "kind": "cloud-image",
            "urls": [f"{self.site.url}/cloud.qcow2"],
            "signer": {"fingerprint": self.key.fingerprint, "key": f"{self.site.url}/key.asc"},
            "unconfirmed": True,
            "checksum": ".sha512",
            "signature": ".asc",
            "flavor": "virt",
        }
        source = CloudImageSource.model_validate(said | other)
        return Named("guest alpine-cloud", source, "profiles/guests/alpine-cloud.yaml", "guest: debian needs none")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("gpg") / "alpine", "ncopa@example.org")


@pytest.fixture
def shelf(key: Key, tmp_path: Path) -> Iterator[Shelf]:
    file = tmp_path / "cloud.qcow2"
    file.write_bytes(CONTENT)
    with serving() as site:
        site.pages = {
            "/cloud.qcow2": CONTENT,
            "/cloud.qcow2.sha512": f"{SHA512}  cloud.qcow2\n".encode(),
            "/cloud.qcow2.asc": key.sign(file, armor=True),
            "/key.asc": key.public(),
        }
        yield Shelf(site, Cache(tmp_path / "cache"), key)


def test_a_file_without_a_hash_is_taken_by_its_signature(shelf: Shelf) -> None:
    taken = take(shelf.wanted(), shelf.cache, Silent(), offline=False)
    assert (taken.sha256, taken.signed_by) == (SHA256, shelf.key.fingerprint)
    assert taken.file.read_bytes() == CONTENT
    assert [path.name for path in shelf.cache.files.iterdir()] == [SHA256]


def test_a_known_hash_is_confirmed_by_the_publishers_other_one(shelf: Shelf) -> None:
    taken = take(shelf.wanted(sha256=SHA256), shelf.cache, Silent(), offline=False)
    assert (taken.sha256, taken.signed_by) == (SHA256, shelf.key.fingerprint)


def test_nothing_is_asked_about_a_file_that_the_profile_vouches_for(shelf: Shelf) -> None:
    taken = take(shelf.wanted(sha256=SHA256, unconfirmed=False), shelf.cache, Silent(), offline=False)
    assert taken.signed_by == ""
    assert set(shelf.site.asked) == {"/cloud.qcow2"}


def test_a_key_that_the_profile_has_is_not_asked_for(shelf: Shelf) -> None:
    signer = {"fingerprint": shelf.key.fingerprint, "key": shelf.key.public(armor=True).decode()}
    taken = take(shelf.wanted(signer=signer), shelf.cache, Silent(), offline=False)
    assert taken.signed_by == shelf.key.fingerprint
    assert "/key.asc" not in shelf.site.asked


@pytest.mark.parametrize("guest", ["alpine", "alpine-cloud"])
def test_the_shipped_key_is_the_one_with_the_pinned_fingerprint(guest: str, tmp_path: Path) -> None:
    source = Project(SHIPPED).guest(guest).source
    assert isinstance(source, PublishedFile)
    listed = run(["gpg", "--homedir", tmp_path, "--show-keys", "--with-colons"], input=source.signer.key.encode()).text
    fingerprints = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")]
    assert fingerprints[0] == source.signer.fingerprint


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pages: pages.update({"/cloud.qcow2": CONTENT + b"!"}), "its publisher says sha512"),
        (lambda pages: pages.update({"/cloud.qcow2.sha512": b""}), "its publisher says sha512 nothing"),
        (lambda pages: pages.update({"/cloud.qcow2.asc": b"forged"}), "is not signed by"),
        (lambda pages: pages.pop("/cloud.qcow2.asc"), "the server answers 404"),
        (lambda pages: pages.pop("/cloud.qcow2"), "the server answers 404"),
    ],
)
def test_what_the_publisher_does_not_vouch_for_is_refused(shelf: Shelf, change: Change, said: str) -> None:
    change(shelf.site.pages)
    with pytest.raises(DownloadError, match=said):
        take(shelf.wanted(), shelf.cache, Silent(), offline=False)


def test_offline_nothing_new_is_trusted(shelf: Shelf) -> None:
    with pytest.raises(DownloadError, match="nobody can be asked about it"):
        take(shelf.wanted(), shelf.cache, Silent(), offline=True)
    assert not shelf.site.asked


def test_neither_hash_nor_question_is_no_pin(shelf: Shelf) -> None:
    with pytest.raises(ValidationError, match="has no sha256; without one, say unconfirmed: true"):
        shelf.wanted(unconfirmed=False)
