"""The list for Raspberry Pi Imager has what its schema asks for, and nothing that would change our images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from builder.plan import as_data
from builder.publish.os_list import Download, os_list
from tests.model.test_manifest import manifest as bare_manifest
from tests.planned import ROLES, plan_of

SCHEMA = json.loads((Path(__file__).parents[1] / "os-list-schema.json").read_text())


@pytest.fixture
def downloads(shipped_folder: Path) -> list[Download]:
    """A worker's and a server's image, as they are published."""
    plans = [plan_of(shipped_folder, role=role) for role in ROLES]
    manifests = [
        bare_manifest().model_copy(update={"node": plan.settings.name, "plan": as_data(plan)}) for plan in plans
    ]
    return [
        Download(manifest, 1795486335, "a" * 64, f"{manifest.node} 1+2.img.xz", "b" * 64, 4) for manifest in manifests
    ]


@pytest.fixture
def listed(downloads: list[Download]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(os_list(downloads, "https://example.org/set/"))
    return data


def test_it_is_what_imager_reads(listed: dict[str, Any]) -> None:
    jsonschema.validate(listed, SCHEMA)
    del listed["os_list"][0]["extract_sha256"]
    with pytest.raises(jsonschema.ValidationError, match="extract_sha256"):
        jsonschema.validate(listed, SCHEMA)


def test_an_entry_says_what_is_on_the_disk_and_what_is_downloaded(listed: dict[str, Any]) -> None:
    server, worker = listed["os_list"]
    assert (server["name"], server["description"]) == ("node-001", "server of pimu: Debian 13 trixie arm64")
    assert worker == {
        "name": "node-003",
        "description": "worker of pimu: Debian 13 trixie arm64, and k3s-003, Debian 13 trixie amd64",
        "icon": "icons/use_custom.png",
        "url": "https://example.org/set/node-003%201%2B2.img.xz",
        "extract_size": 32768,
        "extract_sha256": "a" * 64,
        "image_download_size": 4,
        "image_download_sha256": "b" * 64,
        "release_date": "2026-11-24",
        "devices": ["pi4-64bit"],
        "architecture": "armv8",
    }


def test_imager_is_not_asked_to_set_anything(listed: dict[str, Any]) -> None:
    assert not [entry for entry in listed["os_list"] if "init_format" in entry]


def test_images_that_are_nowhere_yet_are_told_by_name(downloads: list[Download]) -> None:
    data = json.loads(os_list(downloads, ""))
    jsonschema.validate(data, SCHEMA)
    assert [entry["url"] for entry in data["os_list"]] == ["node-001%201%2B2.img.xz", "node-003%201%2B2.img.xz"]
