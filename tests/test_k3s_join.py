"""The guest's join script, run for real by both shells that guests have, against a server that answers as k3s does."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builder.k3s_ca import make_parts
from builder.model.k3s_ca import to_text
from builder.secrets import Secrets
from tests.loopback import Site
from tests.mock_k3s import BINARY, PROGRAM, SUMS, VERSION, MockK3s, k3s_server, let_join, releases, set_k3s
from tests.planned import plan_of

pytestmark = pytest.mark.disk

TOKEN = "0123456789abcdef0123456789abcdef"
# The machine's own programs, over folders that are gone with the namespace: what the guest would write stays there.
IN_A_GUEST = """
set -eu
for name in etc usr var; do
    mkdir -p "$1/$name" "$1/work-$name"
    mount -t overlay -o "lowerdir=/$name,upperdir=$1/$name,workdir=$1/work-$name" overlay /$name
done
mount -t tmpfs tmpfs /run
if [ -d "$1/airgap" ]; then
    mkdir /run/pimu-airgap
    mount --bind "$1/airgap" /run/pimu-airgap
fi
mkdir -p /run/pimu-seed
cp "$1"/seed/* /run/pimu-seed
: >>"$1/console"
mount --bind "$1/console" /dev/console
printf '#!/bin/sh\\n' >/usr/sbin/modprobe
shift
exec "$@" >>/dev/console
"""


@dataclass
class Guest:
    """`folder` holds what it has written: etc, usr, var, console, and its seed."""

    folder: Path
    shell: tuple[str, ...]
    booted: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def boot(self) -> subprocess.Popen[bytes]:
        """Run the join script as init does, with all that it starts in one process group."""
        script = [*self.shell, "/run/pimu-seed/k3s-join.sh"]
        process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                IN_A_GUEST,
                "sh",
                self.folder,
                *script,
            ]
        )
        self.booted.append(process)
        return process

    def switch_off(self) -> None:
        for process in self.booted:
            process.kill()
            process.wait()

    def said(self) -> str:
        console = self.folder / "console"
        return console.read_text() if console.exists() else ""

    def mode(self, path: str) -> str:
        return f"{(self.folder / path).stat().st_mode & 0o777:o}"


@pytest.fixture
def server() -> Iterator[MockK3s]:
    with k3s_server(TOKEN, "node-001.lan") as mock:
        yield mock


@pytest.fixture
def site() -> Iterator[Site]:
    with releases() as site:
        yield site


@pytest.fixture(params=["dash", "busybox sh"])
def guest(
    request: pytest.FixtureRequest, project_folder: Path, tmp_path: Path, server: MockK3s, site: Site
) -> Iterator[Guest]:
    shell: str = request.param
    write_seed(tmp_path / "guest", project_folder, server, site)
    guest = Guest(tmp_path / "guest", tuple(shell.split()))
    yield guest
    guest.switch_off()


def write_seed(folder: Path, project: Path, server: MockK3s, site: Site) -> None:
    let_join(project, server, site.url, "127.0.0.1")
    secrets = Secrets(project)
    (folder / "seed").mkdir(parents=True, exist_ok=True)
    for file in plan_of(project).seed:
        content = file.filled(secrets).decode()
        if file.name == "k3s-release.sh":
            content = content.replace("pause=5", "pause=0")
        (folder / "seed" / file.name).write_text(content)


def pin_to(folder: Path, parts: dict[str, str]) -> None:
    """Make the project's cluster that of these authorities."""
    cluster = folder / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text().replace("  token: file:", "  ca: file:profiles/access/ca\n  token: file:"))
    (folder / "profiles/access/ca").write_text(to_text("pimu", parts))
    (folder / "profiles/access/ca").chmod(0o600)


def until(holds: Callable[[], object], guest: Guest, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, guest.said()
        time.sleep(0.05)


def test_a_node_joins_once_with_its_name_its_labels_and_no_secret_in_sight(
    guest: Guest, server: MockK3s, site: Site
) -> None:
    process = guest.boot()
    until(lambda: "is a node of" in guest.said(), guest)
    assert server.nodes["k3s-003"] == {
        "name": "k3s-003",
        "labels": ["pimu.io/emulated=true"],
        "taints": [],
        "argv": "agent",
        "umask": "0022",
    }
    assert guest.mode("etc/rancher/k3s/token") == guest.mode("etc/rancher/node/password") == "600"
    assert TOKEN not in guest.said() + (guest.folder / "seed/k3s-join.sh").read_text()
    assert server.passwords["k3s-003"] == (guest.folder / "seed/k3s-node-password").read_text().strip() != TOKEN
    assert "127.0.0.1 node-001.lan # k3s\n" in (guest.folder / "etc/hosts").read_text()
    process.kill()
    process.wait()

    installed = (guest.folder / "usr/local/bin/k3s").stat()
    again = guest.boot()
    until(lambda: guest.said().count("is a node of") == 2, guest)
    again.kill()
    again.wait()
    assert (server.joins, server.refused) == (["k3s-003"], [])
    assert site.asked[BINARY] == 1
    assert (guest.folder / "usr/local/bin/k3s").stat().st_ino == installed.st_ino
    assert (guest.folder / "etc/hosts").read_text().count("# k3s") == 1


def test_a_node_that_was_flashed_again_comes_back_under_its_name(
    guest: Guest, project_folder: Path, tmp_path: Path, server: MockK3s, site: Site
) -> None:
    first = guest.boot()
    until(lambda: "is a node of" in guest.said(), guest)
    first.kill()
    first.wait()
    fresh = Guest(tmp_path / "again", guest.shell)
    (fresh.folder / "seed").mkdir(parents=True)
    for file in (guest.folder / "seed").iterdir():
        (fresh.folder / "seed" / file.name).write_bytes(file.read_bytes())
    second = fresh.boot()
    until(lambda: "is a node of" in fresh.said(), fresh)
    second.kill()
    second.wait()
    assert (server.joins, server.refused) == (["k3s-003"], [])


def test_what_is_not_what_its_checksum_says_is_fetched_again_and_never_run(
    guest: Guest, server: MockK3s, site: Site
) -> None:
    site.pages[BINARY] = PROGRAM.replace(b"agent", b"mischief")
    process = guest.boot()
    until(lambda: "is not what its checksum says" in guest.said(), guest)
    assert not (guest.folder / "usr/local/bin/k3s").exists()
    site.pages[BINARY] = PROGRAM
    until(lambda: server.joins == ["k3s-003"], guest)
    process.kill()
    process.wait()


def test_a_list_of_checksums_without_k3s_is_said(guest: Guest, server: MockK3s, site: Site) -> None:
    good, site.pages[SUMS] = site.pages[SUMS], f"{'0' * 64}  k3s-arm64\n".encode()
    process = guest.boot()
    until(lambda: "sha256sum-amd64.txt names no k3s" in guest.said(), guest)
    assert not site.asked[BINARY]
    site.pages[SUMS] = good
    until(lambda: server.joins == ["k3s-003"], guest)
    process.kill()
    process.wait()


def test_half_a_program_is_completed_or_replaced(guest: Guest, server: MockK3s) -> None:
    """A power cut in the download, and a server that cannot go on in the middle."""
    binaries = guest.folder / "usr/local/bin"
    binaries.mkdir(parents=True)
    (binaries / "k3s.part").write_bytes(PROGRAM[:100])
    (binaries / "k3s").write_bytes(PROGRAM[:10])
    process = guest.boot()
    until(lambda: server.joins == ["k3s-003"], guest)
    assert hashlib.sha256((binaries / "k3s").read_bytes()).digest() == hashlib.sha256(PROGRAM).digest()
    process.kill()
    process.wait()


def test_a_server_that_is_switched_on_later_is_waited_for(
    guest: Guest, project_folder: Path, server: MockK3s, site: Site
) -> None:
    port = server.server_port
    script = guest.folder / "seed/k3s-join.sh"
    script.write_text(script.read_text().replace(f":{port}", ":9"))
    process = guest.boot()
    until(lambda: guest.said().count("https://node-001.lan:9 does not answer") > 2, guest)
    assert not server.joins
    process.kill()
    process.wait()


def test_a_wrong_token_is_the_servers_to_refuse(guest: Guest, server: MockK3s) -> None:
    server.token = "another-token-altogether"
    process = guest.boot()
    until(lambda: server.refused, guest)
    assert process.wait(timeout=20) != 0
    assert (server.joins, server.refused[0]) == ([], "not authorized")


@pytest.fixture(scope="module")
def authorities() -> dict[str, dict[str, str] | None]:
    ours, others = (make_parts("pimu", datetime.now(UTC)) for _ in range(2))
    return {"ours": ours, "others": others, "self-signed": None}


@pytest.mark.parametrize("whose", ["ours", "others", "self-signed"])
def test_a_token_with_the_hash_of_the_authorities_is_told_to_their_server_alone(
    whose: str, authorities: dict[str, dict[str, str] | None], project_folder: Path, tmp_path: Path, site: Site
) -> None:
    ours = authorities["ours"]
    assert ours is not None
    pin_to(project_folder, ours)
    with k3s_server(TOKEN, "node-001.lan", parts=authorities[whose]) as server:
        write_seed(tmp_path / "guest", project_folder, server, site)
        guest = Guest(tmp_path / "guest", ("dash",))
        process = guest.boot()
        if whose == "ours":
            until(lambda: "is a node of" in guest.said(), guest)
            process.kill()
        assert process.wait(timeout=60) != 0
        mismatch = "token CA hash does not match the Cluster CA certificate hash" in guest.said()
        assert (server.joins, server.heard, mismatch) == (
            (["k3s-003"], True, False) if whose == "ours" else ([], False, True)
        )


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_a_guest_with_a_disk_of_k3s_fetches_nothing(
    shell: str, project_folder: Path, tmp_path: Path, server: MockK3s, site: Site
) -> None:
    """The disk's content is that of tests/test_airgap.py."""
    set_k3s(project_folder, "airgap: true", "images: tar.zst")
    guest = Guest(tmp_path / "guest", tuple(shell.split()))
    write_seed(guest.folder, project_folder, server, site)
    release = guest.folder / "airgap" / VERSION
    release.mkdir(parents=True)
    (release / "k3s").write_bytes(PROGRAM)
    (release / "sha256sum-amd64.txt").write_text(f"{hashlib.sha256(PROGRAM).hexdigest()}  k3s\n")
    (release / "k3s-airgap-images-amd64.tar.zst").write_bytes(b"images")
    process = guest.boot()
    until(lambda: server.joins == ["k3s-003"], guest)
    process.kill()
    process.wait()
    images = guest.folder / "var/lib/rancher/k3s/agent/images"
    assert [path.read_bytes() for path in images.iterdir()] == [b"images"]
    assert not site.asked


def test_without_a_token_it_waits_and_says_how_it_gets_one(guest: Guest, server: MockK3s, site: Site) -> None:
    for name in ("k3s-token", "k3s-node-password"):
        (guest.folder / "seed" / name).unlink()
    process = guest.boot()
    until(lambda: "there is no token: flash the disk with pimu-build" in guest.said(), guest)
    assert not server.nodes
    process.kill()
    process.wait()
    (guest.folder / "etc/rancher/k3s/token").write_text(f"{TOKEN}\n")
    guest.boot()
    until(lambda: "is a node of" in guest.said(), guest)
    assert list(server.nodes) == ["k3s-003"]
