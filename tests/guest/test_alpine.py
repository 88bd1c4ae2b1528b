"""Alpine installs itself from its ISO, unattended, and what comes of it is looked at, in QEMU."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builder import limits, verify
from builder.build import BuildOptions, build
from builder.errors import BuildError, DownloadError
from builder.guest.alpine import AlpineDisks
from builder.guest.machine import Patience
from builder.guest.seed import make_seed
from builder.host import run
from builder.host.qmp import Qmp
from builder.machines.serial_line import readable
from builder.model.manifest import Manifest
from builder.model.plan import GuestDisk, Plan
from builder.model.progress import Silent
from builder.model.settings import Guest
from builder.project import Project
from builder.secrets.resolve import Secrets
from builder.store import upkeep
from builder.store.products import Store
from builder.text import tail
from tests.alpine_shop import REAL, Shop, publish, take_from
from tests.alpine_standin import GATEWAY, make_iso
from tests.conftest import PUBLIC_KEY
from tests.fetch.test_signatures import make_key
from tests.hostile.test_machines import own_address
from tests.loopback import serving
from tests.mock_k3s import BINARY, k3s_server, let_join, releases
from tests.planned import DEBIAN, plan_of

pytestmark = pytest.mark.disk

PATIENCE = Patience(total=3600, silence=900) if REAL else Patience(total=900, silence=500)
SCRIPT = "overlays/installers/alpine/root/etc/local.d/pimu-install.start.j2"
STATIC = b"""version: 2
ethernets:
  lan:
    addresses: ["10.0.2.40/24"]
    gateway4: 10.0.2.2
    nameservers: {addresses: [10.0.2.3]}
"""


@dataclass(frozen=True)
class Live:
    """A project of one's own that takes the shop's ISO and mirror."""

    shop: Shop
    folder: Path
    store: Store

    def plan(self) -> Plan:
        take_from(self.shop, self.folder)
        return plan_of(self.folder, node="guest: alpine\n")

    def parts(self) -> tuple[GuestDisk, Guest]:
        plan = self.plan()
        assert plan.guest_disk is not None
        assert plan.guest is not None
        return plan.guest_disk, plan.guest

    def install(self, *, iso: Path | None = None, patience: Patience = PATIENCE) -> Path:
        disks = AlpineDisks(self.store, Silent(), patience=patience)
        return disks.make_disk(*self.parts(), iso or self.shop.iso).files["guest-disk"]

    def edit(self, file: str, change: Callable[[str], str]) -> None:
        path = self.folder / file
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before


@pytest.fixture
def live(shop: Shop, project_folder: Path, tmp_path: Path) -> Live:
    return Live(shop, project_folder, Store(tmp_path / "store"))


@contextmanager
def switched_on(disk: Path, seed: Path, guest: Guest, log: Path) -> Iterator[Qmp]:
    """The machine that the Pi gives to its guest; at the end its power button is pressed, and it has to go down."""
    ours, theirs = socket.socketpair()
    process = run.start(
        [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", guest.machine, "-accel", "tcg", "-cpu", guest.cpu["5.2"], "-m", "1G"),
            *("-drive", f"if=virtio,file={disk},format=qcow2,discard=unmap"),
            *("-drive", f"if=virtio,file={seed},format=raw,readonly=on"),
            *("-netdev", "user,id=lan", "-device", "virtio-net-pci,netdev=lan,romfile="),
            *("-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"),
            *("-serial", f"file:{log}"),
        ],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    try:
        qmp = Qmp(ours)
        yield qmp
        qmp.execute("system_powerdown")
        process.wait(PATIENCE.silence)
        assert process.returncode == 0
    finally:
        run.kill(process)
        ours.close()


def facts(log: Path) -> list[tuple[str, str]]:
    """Facts that the stand-in's sshd found when it was started."""
    return re.findall(r"^## (\w+) ?(.*?)\s*$", readable(log.read_text(errors="replace")), re.MULTILINE)


def is_up(log: Path) -> bool:
    """Whether the guest is up: a real one says so by ssh only, and this one by the server that it joins."""
    return "k3s-003 login:" in log.read_text(errors="replace") if REAL else ("end", "") in facts(log)


def boots(
    live: Live, disk: Path, folder: Path, network: bytes | None = None, *, until: Callable[[], bool] = lambda: True
) -> dict[str, list[str]]:
    """Boot the disk with the node's seed, or with another network-config; what it is then, by fact."""
    if network is not None:
        (live.folder / "cloud-init/network-config.j2").unlink(missing_ok=True)
        (live.folder / "cloud-init/network-config").write_bytes(network)
    plan, secrets = live.plan(), Secrets(live.folder)
    work, seed, log = folder / "seed-work", folder / "seed.img", folder / "serial.log"
    work.mkdir(parents=True)
    log.touch()
    files = {file.name: file.filled(secrets) for file in plan.seed}
    make_seed(files, seed, 1, 0, work)
    assert plan.guest is not None
    with switched_on(disk, seed, plan.guest, log):
        deadline = time.monotonic() + PATIENCE.silence
        while not is_up(log) or not until():
            assert time.monotonic() < deadline, tail(readable(log.read_text(errors="replace")))
            time.sleep(0.5)
    assert "reboot: Power down" in log.read_text(errors="replace")
    found: dict[str, list[str]] = {}
    for name, value in facts(log):
        found.setdefault(name, []).append(value)
    return found


def test_it_installs_itself_boots_by_bios_reads_its_seed_joins_k3s_and_powers_down(
    live: Live, authorities: dict[str, str], tmp_path: Path
) -> None:
    base = live.install()
    info = run.run(["qemu-img", "info", base]).text
    assert "virtual size: 128 GiB" in info
    assert base.stat().st_size < 1 << 30
    disk = tmp_path / "disk.qcow2"
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk])

    with k3s_server("token-of-a-cluster", "node-001.lan", parts=authorities) as server, releases() as site:
        let_join(live.folder, server, f"http://{GATEWAY}:{site.server_port}", GATEWAY)
        found = boots(live, disk, tmp_path / "first", until=lambda: bool(server.joins))
        assert server.joins == ["k3s-003"]
        boots(live, disk, tmp_path / "second", until=lambda: len(server.certified) > 1)
        assert (server.joins, server.refused, site.asked[BINARY]) == (["k3s-003"], [], 1)

    run.run(["qemu-img", "check", "-q", disk])
    if REAL:
        return
    assert found["name"] == ["k3s-003"]
    assert found["account"] == [
        "/etc/passwd:pimu:x:1000:1000::/home/pimu:/bin/sh",
        "/etc/shadow:pimu:*:20000:0:99999:7:::",
    ]
    assert found["key"] == [PUBLIC_KEY]
    assert found["doas"] == ["permit nopass pimu"]
    assert found["hostkey"] == ["/etc/ssh/ssh_host_ed25519_key"]
    assert found["address"] == ["10.0.2.15/24"]
    assert "noatime" in found["root"][0]
    assert "discard" in found["root"][0]


@pytest.mark.soak
def test_a_fixed_address_and_an_account_that_was_cut_short(live: Live, tmp_path: Path) -> None:
    """The second boot, with another seed, finds what the first one left and its own host key."""
    disk = tmp_path / "disk.qcow2"
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", live.install(), "-F", "qcow2", disk])
    first = boots(live, disk, tmp_path / "first", STATIC)
    second = boots(live, disk, tmp_path / "second", STATIC)
    assert first["address"] == second["address"] == ["10.0.2.40/24"]
    assert first["account"] == second["account"]


ATTACK = r"""#!/bin/sh
exec </dev/null >/dev/ttyS0 2>&1
ip link set eth0 up
udhcpc -q -n -i eth0 -s /usr/share/udhcpc/default.script
reach() { # not -T: on it busybox 1.35 crashes, and a crash would pass for a refusal
    { timeout 5 wget -q -O /tmp/got "$1" 2>/dev/null && echo "LOOT $1" || echo "none $1"; } >>/tmp/said
}
reach http://10.0.2.2:PORT/secret
reach http://127.0.0.1:PORT/secret
reach http://ADDRESS:PORT/secret
reach http://10.0.2.2:PORT/alpine/v3.22/main/x86_64/curl.apk
reach http://192.0.2.1/
export http_proxy=http://10.0.2.2:3128
reach http://127.0.0.1:PORT/secret
reach http://127.0.0.1:PORT/alpine/../secret
reach http://127.0.0.1:22/
reach http://169.254.169.254/latest/meta-data
wget -q -O /tmp/got http://127.0.0.1:PORT/alpine/v3.22/main/x86_64/curl.apk && echo "mirror is served" >>/tmp/said
cat /tmp/said
echo "pimu-install: the attack is over"
poweroff
"""


@pytest.mark.skipif(bool(REAL), reason="what a mirror of the test's serves is counted")
def test_an_attacker_in_the_installers_machine_reaches_the_mirror_and_nothing_else(live: Live) -> None:
    """By its own network, by the proxy, and by names and paths that the proxy might misread."""
    site = live.shop.site
    assert site is not None
    site.pages["/secret"] = b"a secret of the host"
    script = ATTACK.replace("PORT", str(site.server_port)).replace("ADDRESS", own_address())
    (live.folder / SCRIPT).write_text(script)
    before = site.asked.copy()
    with pytest.raises(BuildError, match=r"has not installed the guest: the attack is over") as caught:
        live.install()
    said = [line.removeprefix("  | ") for line in caught.value.message.splitlines()]
    assert sum(line.startswith("none http://") for line in said) == 9
    assert "mirror is served" in said
    assert "segfault" not in caught.value.message
    assert not [line for line in said if line.startswith("LOOT")]
    assert site.asked - before == {"/alpine/v3.22/main/x86_64/curl.apk": 1}


FLOOD = """#!/bin/sh
while :; do cat /bin/busybox /bin/busybox; done >/dev/ttyS0
"""


@pytest.mark.soak
def test_an_installer_that_floods_its_serial_line_is_ended(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SERIAL", 1 << 18)
    (live.folder / SCRIPT).write_text(FLOOD)
    with pytest.raises(BuildError, match="has said more than 262144 bytes"):
        live.install()


def unexported(text: str) -> str:
    return re.sub(r"^export ", "", text, flags=re.MULTILINE)


def without_sourcing(text: str) -> str:
    return text.replace("set -a\n. /tmp/answers\nset +a\n", "")


@pytest.mark.soak
def test_answers_that_are_not_exported_do_not_reach_setup_disk(live: Live) -> None:
    live.edit("cloud-init/answers.j2", unexported)
    live.edit(SCRIPT, without_sourcing)
    with pytest.raises(BuildError, match=r"(?s)nothing to boot from.*Erase the above disk\(s\) and continue\? \(y/n\)"):
        live.install()


@pytest.mark.soak
def test_the_disk_must_be_named_letter_for_letter_or_it_is_not_erased(live: Live) -> None:
    live.edit("cloud-init/answers.j2", lambda text: text.replace("ERASE_DISKS={{ disk | sh }}", "ERASE_DISKS=vda"))
    with pytest.raises(BuildError, match=r"(?s)nothing to boot from.*Erase the above disk\(s\)"):
        live.install()


@pytest.mark.soak
def test_an_installer_that_ends_well_without_installing_is_not_believed(live: Live) -> None:
    """Without a disk it takes `none`, and its status is 0; here nobody looks before it says that it is done."""
    live.edit("cloud-init/answers.j2", lambda text: re.sub(r"(?m)^export DISKOPTS=.*\n", "", text))
    live.edit(SCRIPT, lambda text: text.replace("if finish; then", "if true; then"))
    with pytest.raises(BuildError, match="it has not two partitions"):
        live.install()


@pytest.mark.soak
@pytest.mark.skipif(bool(REAL), reason="the real ISO is of another release")
def test_the_release_that_never_reads_its_answers_installs_too(live: Live, tmp_path: Path) -> None:
    """3.15.0: a misspelled variable. Sourcing the file before is what helps, and with `-f` alone nothing happens."""
    iso = tmp_path / "old.iso"
    make_iso(iso, live.shop.work, conf=313)

    def of_2021(text: str) -> str:
        return text.replace('"3.22.6"', '"3.15.0"').replace("release: 3.22.6", "release: 3.15.0")

    live.plan()
    live.edit("profiles/guests/alpine.yaml", of_2021)
    assert live.install(iso=iso).exists()
    live.edit(SCRIPT, without_sourcing)
    with pytest.raises(BuildError, match=r"nothing to boot from"):
        live.install(iso=iso)


@pytest.mark.soak
@pytest.mark.skipif(bool(REAL), reason="a real one does not hang")
def test_an_installer_that_hangs_is_given_up(live: Live, tmp_path: Path) -> None:
    iso = tmp_path / "hangs.iso"
    make_iso(iso, live.shop.work, hangs=True)
    with pytest.raises(
        BuildError, match=r"(?s)has said nothing for 60 s; its serial line ended .*pimu-install: setup-alpine"
    ):
        live.install(iso=iso, patience=Patience(total=PATIENCE.total, silence=60))


def test_an_installer_that_is_too_slow_is_given_up(live: Live) -> None:
    with pytest.raises(BuildError, match="is not done after 2 s; its serial line ended after"):
        live.install(patience=Patience(total=2, silence=60))
    assert not [path for path in (live.store.root / "alpine").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (b"MZ" + bytes(54) + b"ARM\x64" + bytes(0x400), "is the ISO of another architecture"),
        (bytes(0x202) + b"HdrS" + bytes(0x200), "is the ISO of another architecture"),
    ],
    ids=["arm64", "i386"],
)
def test_the_iso_of_another_architecture_is_refused(live: Live, tmp_path: Path, kernel: bytes, said: str) -> None:
    iso = tmp_path / "other.iso"
    make_iso(iso, live.shop.work if not REAL else tmp_path, kernel=kernel)
    with pytest.raises(BuildError, match=said):
        live.install(iso=iso)


def test_offline_nothing_is_installed(live: Live) -> None:
    disks = AlpineDisks(live.store, Silent(), offline=True)
    with pytest.raises(DownloadError, match="guest alpine: has not been installed here yet"):
        disks.make_disk(*live.parts(), live.shop.iso)


@pytest.mark.soak
@pytest.mark.skipif(bool(REAL), reason="the real one has its own publisher")
def test_a_build_takes_the_iso_from_its_publisher_and_bakes_what_it_installs(
    live: Live, locked: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A second build, offline, installs nothing again; what it was is in the manifest."""
    key = make_key(tmp_path_factory.mktemp("gpg") / "alpine", "alpine@example.org")
    shutil.copy(locked, live.folder)
    live.plan()
    with serving() as site:
        pin = publish(live.shop, site, key)
        take_from(live.shop, live.folder, **pin)
        options = BuildOptions(output=tmp_path / "output", cache=upkeep.default_root(), role="worker", base=DEBIAN)
        (first,) = build(Project(live.folder), ["node-003"], options, Silent())
    (second,) = build(Project(live.folder), ["node-003"], replace(options, offline=True), Silent())
    assert not second.changed
    manifest = Manifest.from_json(first.manifest.read_text(), "")
    assert manifest.lock["guest alpine"]["signed_by"] == key.fingerprint
    assert manifest.lock["guest alpine"]["sha256"] == pin["sha256"]
    (disk,) = (file for file in manifest.files if file.path == "/usr/share/pimu/guest/base.qcow2")
    assert disk.size is not None
    assert disk.size > 1 << 20
    assert not [file for file in manifest.files if file.path == "/usr/share/pimu/guest/vmlinuz"]
    assert verify.verify(first.image, manifest, Silent()).files > 80


def test_what_is_no_iso_is_refused(live: Live, tmp_path: Path) -> None:
    (tmp_path / "no.iso").write_bytes(b"<html>not found</html>" * 4000)
    with pytest.raises(BuildError, match="is no Alpine ISO with the kernel virt: no /boot/vmlinuz-virt"):
        live.install(iso=tmp_path / "no.iso")
