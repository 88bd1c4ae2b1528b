"""The guest's join script, run for real by both shells that guests have, against a server that answers as k3s does."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from builder.model.k3s_ca import to_text
from builder.secrets.k3s_ca import make_parts
from builder.secrets.resolve import Secrets
from tests.loopback import Site
from tests.mock_k3s import BINARY, PROGRAM, SUMS, VERSION, MockK3s, k3s_server, let_join, releases, set_k3s
from tests.planned import plan_of

pytestmark = pytest.mark.disk

TOKEN = "0123456789abcdef0123456789abcdef"
SHELLS = ("dash", "busybox sh")
BOOTSTRAP = "abcdef.0123456789abcdef"
TOKENS_OF_OTHERS = ("changeme!", "c2VjcmV0/+wb==", "-n", "%s\\n$(id)&;|", "a:b::c", "#no:comment", "*", "&anchor")
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
def server(authorities: dict[str, str]) -> Iterator[MockK3s]:
    """A server of the tests' cluster, whose authorities the token names."""
    with k3s_server(TOKEN, "node-001.lan", parts=authorities) as mock:
        yield mock


@pytest.fixture
def site() -> Iterator[Site]:
    with releases() as site:
        yield site


@pytest.fixture(params=SHELLS)
def guest(
    request: pytest.FixtureRequest, project_folder: Path, tmp_path: Path, server: MockK3s, site: Site
) -> Iterator[Guest]:
    shell: str = request.param
    let_join(project_folder, server, site.url, "127.0.0.1")
    write_seed(tmp_path / "guest", project_folder)
    guest = Guest(tmp_path / "guest", tuple(shell.split()))
    yield guest
    guest.switch_off()


def write_seed(folder: Path, project: Path) -> None:
    secrets = Secrets(project)
    (folder / "seed").mkdir(parents=True, exist_ok=True)
    for file in plan_of(project).seed:
        content = file.filled(secrets).decode()
        if file.name == "k3s-release.sh":
            content = content.replace("pause=5", "pause=0")
        (folder / "seed" / file.name).write_text(content)


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


def test_a_wrong_token_is_the_servers_to_refuse_until_it_is_right(guest: Guest, server: MockK3s) -> None:
    server.token = "another-token-altogether"
    guest.boot()
    until(lambda: len(server.refused) > 1, guest)
    assert (server.joins, set(server.refused)) == ([], {(401, "not authorized")})
    server.token = TOKEN
    until(lambda: server.joins == ["k3s-003"], guest)


def test_a_node_with_another_password_is_refused_until_its_secret_is_deleted(guest: Guest, server: MockK3s) -> None:
    """An agent's token alone makes nobody another worker."""
    server.passwords["k3s-003"] = "the one of before"
    guest.boot()
    until(lambda: server.refused, guest)
    assert (server.joins, server.refused[0][0]) == ([], 403)
    del server.passwords["k3s-003"]  # kubectl -n kube-system delete secret k3s-003.node-password.k3s
    until(lambda: server.joins == ["k3s-003"], guest)


@pytest.fixture(scope="module")
def clusters(authorities: dict[str, str]) -> dict[str, dict[str, str] | None]:
    return {"ours": authorities, "others": make_parts("pimu", datetime.now(UTC)), "self-signed": None}


@pytest.mark.parametrize("kind", ["password", "bootstrap"])
@pytest.mark.parametrize("whose", ["ours", "others", "self-signed"])
def test_a_token_with_the_hash_of_the_authorities_is_told_to_their_server_alone(
    kind: str,
    whose: str,
    clusters: dict[str, dict[str, str] | None],
    project_folder: Path,
    tmp_path: Path,
    site: Site,
) -> None:
    token = {"password": TOKEN, "bootstrap": BOOTSTRAP}[kind]
    ours = clusters["ours"]
    assert ours is not None
    with k3s_server(token, "node-001.lan", parts=clusters[whose]) as server:
        if kind == "bootstrap":
            server.token, server.bootstrap = "the-agents-own-password", {BOOTSTRAP}
        let_join(project_folder, server, site.url, "127.0.0.1")
        for name, text in (("k3s-ca", to_text("pimu", ours)), ("k3s-agent-token", token)):
            (project_folder / "profiles/access" / name).write_text(text)
        cluster = project_folder / "profiles/cluster.yaml"
        if "  ca: " not in cluster.read_text():
            set_k3s(project_folder, "ca: file:profiles/access/k3s-ca")
        write_seed(tmp_path / "guest", project_folder)
        guest = Guest(tmp_path / "guest", ("dash",))
        process = guest.boot()
        mismatch = "token CA hash does not match the Cluster CA certificate hash"
        until(lambda: "is a node of" in guest.said() or mismatch in guest.said(), guest)
        process.kill()
        process.wait()
        assert (server.joins, server.heard, mismatch in guest.said()) == (
            (["k3s-003"], True, False) if whose == "ours" else ([], False, True)
        )


@pytest.mark.parametrize("form", ["{token}", "K10{digest}::{token}"])
def test_a_bootstrap_token_is_shown_as_one_to_a_cluster_that_was_there_before(
    form: str, project_folder: Path, tmp_path: Path, site: Site
) -> None:
    """As `k3s token create` prints it: the digest is that of the lone certificate that k3s has made itself."""
    with k3s_server("the-agents-own-password", "node-001.lan") as server:
        server.bootstrap.add(BOOTSTRAP)
        let_join(project_folder, server, site.url, "127.0.0.1")
        text = form.format(token=BOOTSTRAP, digest=hashlib.sha256(server.cacerts).hexdigest())
        (project_folder / "profiles/access/k3s-agent-token").write_text(f"{text}\n")
        write_seed(tmp_path / "guest", project_folder)
        guest = Guest(tmp_path / "guest", ("busybox", "sh"))
        process = guest.boot()
        until(lambda: server.joins == ["k3s-003"], guest)
        process.kill()
        process.wait()
        assert server.refused == []


@pytest.mark.parametrize(("token", "shell"), list(zip(TOKENS_OF_OTHERS, cycle(SHELLS), strict=False)))
def test_a_token_of_a_cluster_that_was_there_before_arrives_as_it_is(
    token: str, shell: str, project_folder: Path, tmp_path: Path, site: Site
) -> None:
    """k3s finds it in the file that its configuration names, and cuts off blanks and newlines alone."""
    with k3s_server(token, "node-001.lan") as server:
        let_join(project_folder, server, site.url, "127.0.0.1")
        write_seed(tmp_path / "guest", project_folder)
        guest = Guest(tmp_path / "guest", tuple(shell.split()))
        process = guest.boot()
        until(lambda: "is a node of" in guest.said() or server.refused, guest)
        process.kill()
        process.wait()
        assert (server.joins, server.refused) == (["k3s-003"], [])
    configuration = yaml.safe_load((guest.folder / "etc/rancher/k3s/config.yaml").read_text())
    assert set(configuration) == {"server", "token-file", "node-name", "node-label", "node-taint"}
    file = guest.folder / configuration["token-file"].removeprefix("/")
    assert file.read_bytes() == f"{token}\n".encode()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_guest_with_a_disk_of_k3s_fetches_nothing(
    shell: str, project_folder: Path, tmp_path: Path, server: MockK3s, site: Site
) -> None:
    """The disk's content is that of tests/guest/test_airgap.py."""
    set_k3s(project_folder, "airgap: true", "images: tar.zst")
    guest = Guest(tmp_path / "guest", tuple(shell.split()))
    let_join(project_folder, server, site.url, "127.0.0.1")
    write_seed(guest.folder, project_folder)
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
