"""Thirty packages that people put onto such a Pi: their layer is the same twice, and holds nobody's name or key."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.build import BuildOptions, build
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.store import upkeep
from tests.conftest import copy_shipped
from tests.planned import DEBIAN
from tests.target import Target, unpack

pytestmark = [pytest.mark.soak]

PACKAGES = """
    autofs avahi-daemon bind9 cron cryptsetup docker.io fail2ban git haproxy htop iperf3 jq keepalived lldpd lvm2
    man-db multipath-tools nfs-common nginx-light nvme-cli open-iscsi openvpn prometheus-node-exporter rsync rsyslog
    smartmontools snmpd ssl-cert tcpdump unattended-upgrades wireguard-tools
"""
IDENTITIES = (
    *("/etc/nvme/hostnqn", "/etc/nvme/hostid", "/etc/iscsi/initiatorname.iscsi", "/etc/bind/rndc.key"),
    *("/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/ssl/certs/ssl-cert-snakeoil.pem"),
)
REMAKE = "/usr/lib/pimu/identities >/dev/null && "
SHOW = f"sha256sum {' '.join(IDENTITIES)}"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A node with all of them, of which each layer was baked twice: a difference would have ended the build."""
    folder = copy_shipped(tmp_path_factory.mktemp("project"))
    wanted = "".join(f"  {name}: true\n" for name in PACKAGES.split())
    (folder / "profiles/nodes/node-003.yaml").write_text(f"role: server\nk3s: null\npackages:\n{wanted}")
    options = BuildOptions(output=folder / "output", cache=upkeep.default_root(), base=DEBIAN, bake_twice=True)
    (made,) = build(Project(folder), ["node-003"], options, Silent())
    layout = Manifest.from_json(made.manifest.read_text(), "").layout
    work: Path = tmp_path_factory.mktemp("target")
    return unpack(made.image, layout, made.plan.base.architecture, made.plan.base.boot.mount, work)


def test_the_image_has_none_of_the_names_and_keys(target: Target) -> None:
    assert [path for path in IDENTITIES if (target.tree / path.lstrip("/")).exists()] == []


def test_each_is_made_once_and_stays(target: Target) -> None:
    said = target.run(f"{REMAKE}{SHOW} >/tmp/1; {REMAKE}{SHOW} >/tmp/2; cat /tmp/1; cmp /tmp/1 /tmp/2")
    assert said.status == 0, said.output
    assert said.output.count("/") >= len(IDENTITIES)


def test_two_nodes_have_not_one_in_common(target: Target) -> None:
    one, other = (target.run(f"{REMAKE}{SHOW}").output.splitlines() for _ in range(2))
    assert len(one) == len(other) == len(IDENTITIES)
    assert not {*one} & {*other}


@pytest.mark.parametrize("path", IDENTITIES)
def test_what_a_power_cut_left_empty_is_made_again(target: Target, path: str) -> None:
    said = target.run(f"{REMAKE}: >{path}; {REMAKE} test -s {path} && /usr/lib/pimu/identities")
    assert (said.status, said.output.splitlines()[-1]) == (0, "identities ok")


def test_the_identities_are_what_their_programs_take(target: Target) -> None:
    asks = (
        "nvme show-hostnqn | grep -q ^nqn && grep -q ^InitiatorName=iqn /etc/iscsi/initiatorname.iscsi"
        " && named-checkconf /etc/bind/named.conf && rndc-confgen -h >/dev/null 2>&1; openssl verify -CAfile"
        " /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/ssl/certs/ssl-cert-snakeoil.pem"
    )
    said = target.run(f"{REMAKE}{asks}")
    assert said.status == 0, said.output
