"""Plans of the guest's user-data and network-config, and refusals of them, without a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.model.guest_seed import GuestSeed, Network, Route
from builder.plan.network_config import network
from builder.plan.seed_conf import to_text
from builder.profile import parse
from tests.conftest import PUBLIC_KEY
from tests.planned import plan_of

MAC = "52:54:00:08:f0:66"
USERS = f"#cloud-config\nusers:\n  - name: pimu\n    ssh_authorized_keys: ['{PUBLIC_KEY}']\n"
EXTRA = f"""{USERS}packages: [htop]
bootcmd: [modprobe dm_crypt]
runcmd:
  - cd /srv && touch made
  - |
    cd /srv
    touch last
write_files:
  - path: /etc/motd
    content: |
      hello
    permissions: "0600"
    owner: root:adm
    append: true
"""


def card(text: str) -> Network:
    return network(parse(f"version: 2\nethernets:\n  lan: {{{text}}}\n", "network-config"), MAC)


def conf(folder: Path, guest: str, **files: str) -> list[str]:
    for name, content in files.items():
        (folder / f"cloud-init/{name.replace('_', '-')}.j2").unlink()
        (folder / f"cloud-init/{name.replace('_', '-')}").write_text(content)
    plan = plan_of(folder, node=f"guest: {guest}\n")
    return next(file.content.decode() for file in plan.seed if file.name == "seed.conf").splitlines()


@pytest.mark.parametrize("guest", ["alpine", "alpine-cloud"])
def test_what_tiny_cloud_does_like_cloud_init_is_left_to_it(guest: str, project_folder: Path) -> None:
    assert conf(project_folder, guest, user_data=EXTRA)[:2] == ["hostname=k3s-003", "user=pimu"]


@pytest.mark.parametrize("key", ["packages", "bootcmd", "runcmd", "write_files", "timezone", "chpasswd", "disk_setup"])
def test_a_guest_without_anybody_for_it_is_refused(key: str, project_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}: the guest debian does not act on it") as caught:
        conf(project_folder, "debian", user_data=f"{USERS}{key}: [x]\n")
    assert caught.value.where == "cloud-init/user-data:5"


def test_a_full_name_stands_before_the_short_one(project_folder: Path) -> None:
    lines = conf(project_folder, "debian", user_data=f"{USERS}fqdn: k3s-003.home.arpa\n")
    assert lines[:2] == ["hostname=k3s-003", "fqdn=k3s-003.home.arpa"]


def test_a_template_with_a_fault_is_quoted(project_folder: Path) -> None:
    file = project_folder / "cloud-init/user-data.j2"
    file.write_text(file.read_text().replace("lock_passwd: true", "lock_password: {{ node.name | yaml }}"))
    with pytest.raises(ConfigurationError, match="lock_password: is not a known key") as caught:
        plan_of(project_folder)
    assert caught.value.where == "cloud-init/user-data.j2 (rendered):7"
    assert "did you mean lock_passwd?" in caught.value.hint
    assert """what the template became: 'lock_password: "node-003"'""" in caught.value.hint


def test_without_network_config_there_is_dhcp(project_folder: Path) -> None:
    (project_folder / "cloud-init/network-config.j2").unlink()
    assert conf(project_folder, "debian")[-1] == "dhcp4=yes"


def test_addresses_and_routes_have_one_spelling() -> None:
    found = card(
        'addresses: ["FD00:1::0023/64", 10.0.0.5/255.255.255.0], gateway6: "fd00:1:0::1", '
        "routes: [{to: 0.0.0.0/0, via: 10.0.0.1}, {to: 10.8.0.0/16, via: 10.0.0.2, metric: 9}]"
    )
    assert found.addresses == ("fd00:1::23/64", "10.0.0.5/24")
    assert found.routes == (
        Route("default", "fd00:1::1"),
        Route("default", "10.0.0.1"),
        Route("10.8.0.0/16", "10.0.0.2", 9),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dhcp4: yes", "dhcp4: is not true or false"),
        ("dhcp4: true, dhcp6: true", "dhcp6: is true, but a guest has no DHCPv6"),
        ("dhcp4: true, nameservers: {addresses: [1.1.1.1]}", "has no effect beside dhcp4"),
        ("dhcp4: true, match: {name: wlan0}", "wlan0 does not match eth0"),
        ("dhcp4: true, mtu: 9", "mtu: is not greater than or equal to 576"),
        ("dhcp4: true, set-name: lo", "set-name: is not a card's name"),
        ("dhcp4: true, accept-ra: false", "accept-ra: is not a known key"),
        ("dhcp4: true, setname: lan0", "did you mean set-name"),
        ("addresses: [10.0.0.0/24]", "is the address of a network"),
        ("addresses: [127.0.0.1/8]", "not an address that a machine can have"),
        ("addresses: [10.0.0.5/33]", "10.0.0.5/33"),
        ("addresses: [10.0.0.5/24], gateway4: 10.0.0.5", "is the guest's own address"),
        (
            "addresses: [10.0.0.5/24], gateway4: 10.0.0.1, routes: [{to: default, via: 10.0.0.2}]",
            "second default route",
        ),
        ("addresses: [10.0.0.5/24], routes: [{to: 10.9.0.1/16, via: 10.0.0.1}]", "has host bits set"),
        ("addresses: [10.0.0.5/24], routes: [{to: 'fd00::/8', via: 10.0.0.1}]", "of another kind of address"),
        ("addresses: [10.0.0.5/24], routes: [{to: default, via: 10.0.0.1, table: 7}]", "table: is not a known key"),
        ("addresses: [10.0.0.5/24], nameservers: {addresses: [router]}", "'router' does not appear to be"),
    ],
)
def test_a_network_that_would_not_be_as_it_is_written_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        card(text)
    assert said in str(caught.value)
    assert caught.value.where.startswith("network-config:")


def test_no_value_becomes_a_second_line() -> None:
    """The last guard, should a reader before it let one pass."""
    for evil in ("a\nuser=evil", "a\0", "a\x1b[2J", "a\u2028b", "a\r"):
        with pytest.raises(ConfigurationError, match="has a control character or a line break"):
            to_text(GuestSeed(evil, None, (), Network(dhcp4=True)))
