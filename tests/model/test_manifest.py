"""The manifest survives its JSON, says the same thing in the same bytes, and refuses what it does not know."""

from __future__ import annotations

import hashlib
import json

import pytest

from builder.errors import ConfigurationError
from builder.model.manifest import DiskFacts, FileState, ImageFacts, Manifest, image_digest

DIGEST = hashlib.sha256(b"chunk").hexdigest()


def manifest() -> Manifest:
    return Manifest(
        node="node-003",
        image=ImageFacts(
            size=32768, chunk_size=4194304, digest=image_digest([DIGEST]), chunks=(DIGEST,), allocated=((0, 4096),)
        ),
        layout=DiskFacts(boot_start=4096, boot_size=4096, root_start=8192, root_size=4096, disk_id="0x0000beef"),
        files=(
            FileState(volume="root", path="/etc/localtime", type="link", target="/x", feature="access", origin="a:1"),
            FileState(volume="boot", path="/gone", type="absent", feature="access", origin="a:2"),
        ),
        plan={"b": None, "a": [1, 2]},
        lock={},
    )


def test_round_trip() -> None:
    text = manifest().to_json()
    assert Manifest.from_json(text, "node-003.manifest.json") == manifest()
    assert Manifest.from_json(text, "x").to_json() == text


def test_absent_values_are_not_written() -> None:
    link, gone = json.loads(manifest().to_json())["files"]
    assert sorted(link) == ["feature", "origin", "path", "target", "type", "volume"]
    assert gone["type"] == "absent"


def test_image_digest_is_the_sha256_over_raw_chunk_digests() -> None:
    assert image_digest([DIGEST, DIGEST]) == hashlib.sha256(hashlib.sha256(b"chunk").digest() * 2).hexdigest()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version"),
        ({"surprise": 1}, "surprise"),
        ({"image": {"size": 5}}, "image.chunk_size"),
        ({"files": [{"volume": "swap", "path": "/", "type": "dir", "feature": "f", "origin": "o"}]}, "files.0.volume"),
    ],
)
def test_what_it_does_not_know_is_refused(change: dict[str, object], named: str) -> None:
    text = json.dumps(json.loads(manifest().to_json()) | change)
    with pytest.raises(ConfigurationError, match=rf"node\.json: is not a manifest of this version: {named}"):
        Manifest.from_json(text, "node.json")


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is not a manifest"):
        Manifest.from_json("{", "node.json")
