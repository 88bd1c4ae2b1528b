"""The built image, verified as a file and lived through as a machine: what `verify` and `boot --check` say of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from builder import boot, verify
from builder.boot.ssh import Shell
from builder.build import BuildOptions, Built, build
from builder.errors import VerifyMismatchError
from builder.lock.lock_file import LOCK_FILE
from builder.machines.network import Place
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from tests.alpine_shop import Shop, publish, take_from
from tests.alpine_standin import GATEWAY
from tests.conftest import SHIPPED, copy_shipped
from tests.fetch.test_signatures import make_key
from tests.mock_k3s import ARM_BINARY, BINARY, k3s_server, let_join, releases, set_k3s
from tests.planned import DEBIAN

KEY = SHIPPED / "profiles/access/id_ed25519"
TOKEN = "0123456789abcdef0123456789abcdef"
JOIN_TIMEOUT = 1800.0  # seconds; two quiet cores need 100


@pytest.mark.disk
def test_the_image_is_what_its_manifest_says(built: Built, manifest: Manifest) -> None:
    report = verify.verify(built.image, manifest, Silent())
    assert report.files > 80


@pytest.mark.disk
def test_one_byte_of_a_checked_file_is_enough(built: Built, manifest: Manifest, tmp_path: Path) -> None:
    copy = tmp_path / built.image.name
    shutil.copyfile(built.image, copy)
    content = copy.read_bytes()
    place = content.index(b"arm_freq=2000")
    with copy.open("r+b") as file:
        file.seek(place + len(b"arm_freq="))
        file.write(b"3")
    chunk = manifest.image.chunk_size
    start = place // chunk * chunk
    with pytest.raises(VerifyMismatchError, match=f"in 1 places:\n  image bytes {start}-{start + chunk - 1}: sha256"):
        verify.verify(copy, manifest, Silent())


def failures(results: list[boot.CheckResult]) -> list[str]:
    return [result.describe() for result in results if not result.passed]


@pytest.mark.boot
@pytest.mark.parametrize("guest", ["debian", pytest.param("alpine", marks=pytest.mark.soak)])
def test_a_pi_boots_its_guest_joins_k3s_and_both_come_back(
    guest: str,
    request: pytest.FixtureRequest,
    authorities: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The server is this machine: QEMU's network has it at 10.0.2.2, and the guest is a neighbour of the Pi there."""
    with k3s_server(TOKEN, "node-001.lan", parts=authorities) as server, releases() as site:
        project = copy_shipped(tmp_path / "project")
        if guest == "debian":
            let_join(project, server, f"http://{GATEWAY}:{site.server_port}", GATEWAY)
        else:
            let_join(project, server, site.url, GATEWAY)
            set_k3s(project, "airgap: true")
            key = make_key(tmp_path_factory.mktemp("gpg") / "alpine", "alpine@example.org")
            shop: Shop = request.getfixturevalue("shop")
            take_from(shop, project, **publish(shop, site, key))
        (project / "profiles/nodes/node-003.yaml").write_text(f"guest: {guest}\n")
        built = build_in(project, "node-003", tmp_path / "output")
        manifest = Manifest.from_json(built.manifest.read_text(), str(built.manifest))

        def joins(shell: Shell) -> Iterator[boot.CheckResult]:
            yield comes_true("joined", lambda: server.joins == ["k3s-003"])
            shell.run(b"systemctl restart pimu-guest.service", JOIN_TIMEOUT)
            yield comes_true("back with its old password", lambda: server.certified == ["k3s-003", "k3s-003"])
            said = shell.run(b"cat /var/log/pimu/guest-serial.log.1", JOIN_TIMEOUT)
            yield boot.CheckResult(
                "powered down in between", "reboot: Power down" in said, said[-200:], "its last line"
            )

        results = boot.check(built.image, manifest, KEY, tmp_path, Silent(), access=reach(server, site), while_up=joins)
        assert failures(results) == []
        assert "guest powered down cleanly" in {result.name for result in results}
        assert server.nodes["k3s-003"]["labels"] == ["pimu.io/emulated=true"]
        assert (server.joins, server.refused) == (["k3s-003"], [])
        # The airgapped one was fetched by the build, unless an earlier one had; no guest can reach its address.
        assert site.asked[BINARY] == 1 or (guest == "alpine" and not site.asked[BINARY])


@pytest.mark.soak
@pytest.mark.boot
def test_a_server_installs_k3s_at_its_first_boot_and_starts_it_at_each(
    authorities: dict[str, str], tmp_path: Path
) -> None:
    with k3s_server(TOKEN, "node-001.lan", parts=authorities) as server, releases() as site:
        project = copy_shipped(tmp_path / "project")
        let_join(project, server, f"http://{GATEWAY}:{site.server_port}", GATEWAY)
        built = build_in(project, "node-001", tmp_path / "output")
        manifest = Manifest.from_json(built.manifest.read_text(), str(built.manifest))

        def serves(shell: Shell) -> Iterator[boot.CheckResult]:
            active = b"systemctl is-active k3s.service || true"
            yield comes_true("k3s runs", lambda: shell.run(active, JOIN_TIMEOUT).strip() == "active")
            said = shell.run(b"cat /var/lib/rancher/k3s/server/started", JOIN_TIMEOUT)
            yield boot.CheckResult("k3s was started", said.split() == ["server"], said, "once, as a server")
            modes = shell.run(b"cd /etc/rancher; stat -c %a k3s/token k3s/agent-token node/password", JOIN_TIMEOUT)
            yield boot.CheckResult("secrets", modes.split() == ["600"] * 3, modes, "600, all three")

        results = boot.check(
            built.image, manifest, KEY, tmp_path, Silent(), access=reach(server, site), while_up=serves
        )
        assert failures(results) == []
        assert site.asked[ARM_BINARY] == 1


def reach(*servers: ThreadingHTTPServer) -> boot.Access:
    """The Pi finds these servers of the test at its gateway."""
    return boot.Access(tuple(Place("127.0.0.1", server.server_port) for server in servers))


def build_in(project: Path, node: str, output: Path) -> Built:
    """A node of a project on plain Debian, a worker unless its file says otherwise."""
    if (SHIPPED / LOCK_FILE).exists():
        shutil.copy(SHIPPED / LOCK_FILE, project)
    role = "worker" if node == "node-003" else None
    options = BuildOptions(output=output, cache=upkeep.default_root(), role=role, base=DEBIAN)
    (made,) = build(Project(project), [node], options, Silent())
    return made


def comes_true(name: str, holds: Callable[[], bool]) -> boot.CheckResult:
    deadline = time.monotonic() + JOIN_TIMEOUT
    while not holds() and time.monotonic() < deadline:
        time.sleep(1)
    return boot.CheckResult(name, holds(), "yes" if holds() else "no", "yes")


@pytest.mark.soak
@pytest.mark.parametrize("step", boot.CUTS)
def test_a_power_cut_in_the_first_boot_is_healed_by_the_next(
    built: Built, manifest: Manifest, tmp_path: Path, step: str
) -> None:
    assert failures(boot.check_power_cut(built.image, manifest, KEY, tmp_path, Silent(), step=step)) == []
