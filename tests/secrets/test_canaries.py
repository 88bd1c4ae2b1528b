"""Secrets are where they belong and nowhere else: a password's hash in the image's /etc/shadow, the agents' token on
the guest's seed; the servers' token, the secret of node passwords and the private ssh key in no file. All that a build
leaves behind is searched, byte by byte, and what others could see while it runs.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from builder.fs import ext4
from builder.model.manifest import Manifest
from tests.conftest import SHIPPED, copy_shipped
from tests.workshop import Workshop

pytestmark = pytest.mark.disk

CANARY = "$6$canaryCANARYsalt$" + "OnlyTheShadowKnows0123456789abcdefghijklmnopqrstuvwxyz".ljust(86, "x")
SECRETS = {
    "password": CANARY,
    "token": "OnlyTheServersKnow-0123456789",
    "agent_token": "OnlyTheSeedKnows-0123456789",
    "node_passwords": "OnlyTheProjectKnows-0123456789abcdef",
}
IN_THE_IMAGE = {
    b"OnlyTheShadowKnows": 1,
    b"OnlyTheServersKnow": 0,
    b"OnlyTheSeedKnows": 1,
    b"OnlyTheProjectKnows": 0,
}
"""Number of times that each is there."""
KEY = SHIPPED / "profiles/access/id_ed25519"
REFERENCES = {"env": "env:PIMU_CANARY_{}", "file": "file:profiles/access/canary-{}"}


@dataclass
class Traces:
    """Texts that were said and written, by their place; `seen` are command lines and environments of the tools."""

    workshop: Workshop
    said: dict[str, str] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)

    def files(self) -> Iterator[Path]:
        for folder in (self.workshop.cache, self.workshop.output(), self.workshop.folder / "scratch"):
            yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.fixture(scope="module", params=["env", pytest.param("file", marks=pytest.mark.soak)])
def traces(request: pytest.FixtureRequest, locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """A node is made while the secret is known, in soak its golden image too; plan, JSON and an error are asked for."""
    folder = tmp_path_factory.mktemp("canaries")
    project = copy_shipped(folder / "project")
    shutil.copy(locked, project)
    cluster = project / "profiles/cluster.yaml"
    data = yaml.safe_load(cluster.read_text())
    references = {name: REFERENCES[request.param].format(name) for name in SECRETS}
    data["user"]["password"] = references.pop("password")
    data["k3s"] |= references
    cluster.write_text(yaml.safe_dump(data))
    settings = {"TMPDIR": str(folder / "scratch"), "HOME": str(folder / "scratch")}
    (folder / "scratch").mkdir()
    for name, secret in SECRETS.items():
        if request.param == "env":
            settings[f"PIMU_CANARY_{name}"] = secret
        else:
            file = project / f"profiles/access/canary-{name}"
            file.touch(0o600)
            file.write_text(f"{secret}\n")

    Workshop(folder).furnish()
    workshop = Workshop(folder, project)
    if request.param == "file":
        workshop.forget("golden")
    build = (*workshop.build_words(), "--offline")
    traces = Traces(workshop)
    asked = {
        "build": (*build, "-v"),
        "json": (*build, "--json", "-v"),
        "plan": ("plan", "node-003", "--role", "worker", "-v"),
        "plan as json": ("plan", "node-003", "--role", "worker", "--json"),
        "cache list": ("cache", "list", "--json"),
        "lock": ("lock", "-v"),
        "error": ("node-003", "--role", "worker", "--output", "/proc/nowhere", "--offline", "-v"),
    }
    with watching(traces):
        for name, words in asked.items():
            process = workshop.start(*words, settings=settings)
            output, errors = process.communicate()
            traces.said[name] = (output + errors).decode()
            assert process.returncode == (3 if name == "error" else 0), traces.said[name]
    return traces


@contextmanager
def watching(traces: Traces) -> Iterator[None]:
    """Look at the processes that our builds have, all the time: anybody on the machine may read a command line."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    traces.seen.add((folder / "cmdline").read_bytes())
                    if b"-m\0builder\0" not in (folder / "cmdline").read_bytes():
                        traces.seen.add((folder / "environ").read_bytes())
                except OSError:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def count(file: Path, word: bytes) -> int:
    if file.stat().st_size == 0:
        return 0
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found, position = 0, content.find(word)
        while position >= 0:
            found, position = found + 1, content.find(word, position + 1)
        return found


def test_each_secret_is_where_it_belongs_and_nowhere_else(traces: Traces, tmp_path: Path) -> None:
    image = traces.workshop.output() / "node-003.img"
    manifest = Manifest.from_json((traces.workshop.output() / "node-003.manifest.json").read_text(), "")
    (shadow,) = ext4.read_files(image, manifest.layout.root_start, ["etc/shadow"], tmp_path)
    assert [line for line in shadow.decode().splitlines() if CANARY in line] == [f"pimu:{CANARY}::0:99999:7:::"]
    for word, wanted in IN_THE_IMAGE.items():
        found = {str(file): times for file in traces.files() if (times := count(file, word))}
        assert found == ({str(image): wanted} if wanted else {}), word


def test_nothing_that_is_said_holds_it(traces: Traces) -> None:
    assert all(traces.said.values())
    for word in IN_THE_IMAGE:
        assert [name for name, text in traces.said.items() if word.decode() in text] == []
    assert "PIMU_CANARY_agent_token" in traces.said["plan"] or "canary-agent_token" in traces.said["plan"]


def test_no_tool_is_told_it(traces: Traces) -> None:
    assert any(b"--offline" in words for words in traces.seen)
    assert [words for words in traces.seen if any(word in words for word in IN_THE_IMAGE)] == []


def test_nobody_else_may_read_the_image_that_holds_it(traces: Traces) -> None:
    assert (traces.workshop.output() / "node-003.img").stat().st_mode & 0o077 == 0


def test_the_private_key_is_in_no_file_and_no_word(traces: Traces) -> None:
    secret = KEY.read_text().splitlines()[2].encode()
    assert len(secret) > 60
    assert [str(file) for file in traces.files() if count(file, secret)] == []
    assert [name for name, text in traces.said.items() if secret.decode() in text] == []
    assert [words for words in traces.seen if secret in words] == []


def test_the_manifest_names_the_reference(traces: Traces) -> None:
    plan = json.loads((traces.workshop.output() / "node-003.manifest.json").read_text())["plan"]
    assert any(reference.format("agent_token") in json.dumps(plan) for reference in REFERENCES.values())
    assert os.fspath(traces.workshop.project) not in json.dumps(plan)
