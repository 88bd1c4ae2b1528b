"""Every spelling of a seed that cloud-init takes and plan does not refuse, as the guest's own scripts understand it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PUBLIC_KEY, SHIPPED
from tests.guest_rooms import SHELLS, guest_room

pytestmark = pytest.mark.disk

SHIM = SHIPPED / "overlays/guests/alpine/root/usr/lib/pimu/doas-as-sudo"

ED25519 = PUBLIC_KEY.rpartition(" ")[0]
KEY = f"{ED25519} me@laptop"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkPIZ4wrasU+yjFWSnnGL0AWjJEqBwxuEl7ZDKiVpI0 intern@desk"
FROM = f'from="192.168.1.0/24,fd00::/8",no-agent-forwarding {ED25519} backup@nas'
COMMAND = f'command="/usr/bin/rsync \\"a b\\" --server",restrict {ED25519} backup@nas'
FORMS = {
    "carriage returns": (
        (
            "#cloud-config\r\nssh_pwauth: false\r\nusers:\r\n  - name: pimu\r\n    sudo: ALL=(ALL) NOPASSWD:ALL\r\n"
            f'    ssh_authorized_keys:\r\n      - "{KEY}"\r\n'
        ),
        [KEY],
    ),
    "folded": (
        (
            "#cloud-config\nusers:\n- gecos: Me\n  name: pimu\n  sudo: ['ALL=(ALL:ALL) NOPASSWD: ALL']\n"
            f"  ssh_authorized_keys:\n  - >-\n    {KEY}\n"
        ),
        [KEY],
    ),
    "top level": (
        f"#cloud-config\nhostname: k3s-003\nuser: pimu\nssh_authorized_keys:\n  - {KEY} # my laptop\n",
        [KEY],
    ),
    "default and more": (
        (
            "#cloud-config\nusers:\n  - default\n  - name: pimu\n    sudo: ALL=(ALL) NOPASSWD:ALL\n"
            f"    ssh-authorized-keys:\n      - {KEY}\n"
        ),
        [KEY],
    ),
    "flow": (
        (
            "#cloud-config\nusers: [{shell: /bin/sh, ssh_authorized_keys: "
            f'["{KEY}", "{OTHER}"], sudo: "ALL=(ALL:ALL) NOPASSWD:ALL", name: pimu}}]\n'
        ),
        [KEY, OTHER],
    ),
    "with options": (
        (
            "#cloud-config\nusers:\n- name: pimu\n  sudo: ALL=(ALL) NOPASSWD:ALL\n  ssh_authorized_keys:\n"
            f"  - '{FROM}'\n  - |\n    {COMMAND}\n  - cert-authority {KEY}\n"
        ),
        [FROM, COMMAND, f"cert-authority {KEY}"],
    ),
}
CLOUD_INIT_READS = """
import sys
from cloudinit import distros, helpers, util
from cloudinit.distros import ug_util
config = util.load_yaml(open(sys.argv[1]).read())
config.setdefault("users", ["default"])
paths = helpers.Paths({})
distro = distros.fetch("debian")("debian", {"default_user": {"name": "pimu"}}, paths)
users, _ = ug_util.normalize_users_groups(config, distro)
default, _ = ug_util.extract_default(users)
for name, options in sorted(users.items()):
    keys = options.get("ssh_authorized_keys", []) + (config.get("ssh_authorized_keys", []) if name == default else [])
    print(name, *(key.strip() for key in keys), sep="\\n")
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_user_data_is_one_account_with_its_keys(
    form: str, shell: str, project_folder: Path, tmp_path: Path
) -> None:
    text, keys = FORMS[form]
    room = guest_room(tmp_path / "guest", project_folder, shell, user_data=text)
    said = room.run("seed", after="busybox hostname")
    assert said.splitlines()[-1] == "k3s-003"
    assert "made the account pimu" in said
    folder = room.folder / "home/pimu"
    assert (folder / ".ssh/authorized_keys").read_text().splitlines() == keys
    assert (folder / ".ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert room.account("pimu")[5] == "/home/pimu"
    subprocess.run(["ssh-keygen", "-l", "-f", folder / ".ssh/authorized_keys"], check=True, capture_output=True)
    assert sum(line.startswith("pimu:*:") for line in room.text("etc/shadow").splitlines()) == 1


@pytest.mark.parametrize("form", FORMS)
def test_cloud_init_reads_the_same_account_and_keys(form: str, project_folder: Path, tmp_path: Path) -> None:
    text, _ = FORMS[form]
    room = guest_room(tmp_path / "guest", project_folder, "dash", user_data=text)
    judge = ["/usr/bin/python3", "-c", CLOUD_INIT_READS, str(room.folder / "seed/user-data")]
    judged = subprocess.run(judge, check=True, capture_output=True, text=True)
    lines = [line.partition("=")[::2] for line in room.text("seed/seed.conf").splitlines()]
    assert judged.stdout.splitlines() == [value for key, value in lines if key in ("user", "ssh_key")]


def test_two_accounts_keep_their_own_keys_and_rights(shell: str, project_folder: Path, tmp_path: Path) -> None:
    text = (
        "#cloud-config\nusers:\n  - name: pimu\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    gecos: The = one\n"
        f"    groups: [docker, adm]\n    ssh_authorized_keys: ['{KEY}']\n"
        f"  - name: intern\n    sudo: null\n    shell: /bin/there-is-none\n    ssh_authorized_keys: ['{OTHER}']\n"
    )
    room = guest_room(tmp_path / "guest", project_folder, shell, user_data=text)
    said = room.run("seed", "seed")
    assert room.text("home/pimu/.ssh/authorized_keys") == f"{KEY}\n"
    assert room.text("home/intern/.ssh/authorized_keys") == f"{OTHER}\n"
    assert [path.name for path in (room.folder / "etc/sudoers.d").iterdir()] == ["pimu-pimu"]
    assert [path.name for path in (room.folder / "etc/doas.d").iterdir()] == ["pimu-pimu.conf"]
    assert room.account("pimu")[4] == "The = one"
    assert room.account("intern")[6] == "/bin/sh"
    assert said.count("there is no /bin/there-is-none: intern gets /bin/sh") == 1
    groups = [line.split(":") for line in room.text("etc/group").splitlines()]
    assert [group[0] for group in groups if "pimu" in group[3].split(",")] == ["adm", "docker"]


def test_sudo_and_doas_take_the_rules(shell: str, project_folder: Path, tmp_path: Path) -> None:
    """By their own judges, as no rule of a file with a fault would count."""
    room = guest_room(tmp_path / "guest", project_folder, shell)
    room.run("seed")
    rule, doas = room.folder / "etc/sudoers.d/pimu-pimu", room.folder / "etc/doas.d/pimu-pimu.conf"
    assert (rule.stat().st_mode & 0o777, doas.stat().st_mode & 0o777) == (0o440, 0o440)
    subprocess.run(["visudo", "-c", "-f", str(rule)], check=True, capture_output=True)
    subprocess.run(["doas", "-C", str(doas)], check=True, capture_output=True)


@pytest.mark.parametrize("has_sudo", [True, False])
def test_alpines_account_becomes_root_by_the_sudo_that_is_there(
    has_sudo: bool, project_folder: Path, tmp_path: Path
) -> None:
    """Debian's doas has one file of rules, Alpine's the folder doas.d."""
    room = guest_room(tmp_path / "guest", project_folder, "dash", guest="alpine")
    before = f"mkdir -p /usr/lib/pimu; cp {SHIM} /usr/lib/pimu/; chmod 755 /usr/lib/pimu/*"
    after = "cp /etc/doas.d/pimu-pimu.conf /etc/doas.conf; readlink -f /usr/bin/sudo"
    said = room.run(
        "seed",
        before=before if has_sudo else f"{before}; rm /usr/bin/sudo",
        after=f"{after}; su -s /bin/sh pimu -c 'sudo -n id -un'",
    )
    assert said.splitlines()[-2:] == ["/usr/bin/sudo" if has_sudo else "/usr/lib/pimu/doas-as-sudo", "root"]


def test_an_account_of_the_system_is_left_alone(shell: str, project_folder: Path, tmp_path: Path) -> None:
    """Only the guest knows in the end which accounts of the system there are."""
    room = guest_room(tmp_path / "guest", project_folder, shell)
    conf = room.folder / "seed/seed.conf"
    conf.write_text(f"hostname=k3s-003\nuser=mail\nroot=yes\nssh_key={KEY}\nuser=pimu\nssh_key={OTHER}\n")
    assert "mail is an account of the system: it is left as it is" in room.run("seed")
    assert room.account("mail")[2] == "8"
    assert not (room.folder / "etc/sudoers.d/pimu-mail").exists()
    assert room.text("home/pimu/.ssh/authorized_keys") == f"{OTHER}\n"


def test_values_are_data(shell: str, project_folder: Path, tmp_path: Path) -> None:
    """Nothing of a key's comment is run, split or expanded."""
    key = f"{ED25519} $(touch /etc/ran) `touch /etc/ran` \\n ; touch /etc/ran & * 'one' \"two\" root=yes"
    text = f"#cloud-config\nusers:\n- name: pimu\n  ssh_authorized_keys:\n  - >-\n    {key}\n"
    room = guest_room(tmp_path / "guest", project_folder, shell, user_data=text)
    room.run("seed", "network", before="/usr/sbin/ip link add eth0 type veth peer name peer")
    assert room.text("home/pimu/.ssh/authorized_keys") == f"{key}\n"
    assert not (room.folder / "etc/ran").exists()
    assert not (room.folder / "etc/sudoers.d").exists()


V2 = "version: 2\nethernets:\n  lan:\n"
NETWORKS = {
    "lists in blocks, DNS over two lines": (
        (
            f"{V2}    dhcp4: false\n    dhcp6: false\n    addresses:\n      - 10.10.1.5/24\n    gateway4: 10.10.1.1\n"
            "    nameservers:\n      search: [home]\n      addresses: [8.8.8.8, 8.8.4.4]\n"
        ),
        ["10.10.1.5/24"],
        ["default via 10.10.1.1"],
        "search home\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n",
    ),
    "a route in place of a gateway": (
        (
            f"{V2}    dhcp4: false\n    addresses: [192.168.1.23/24]\n    routes:\n      - to: default\n"
            "        via: 192.168.1.1\n    nameservers:\n      addresses:\n        - 192.168.1.1\n        - 1.1.1.1\n"
        ),
        ["192.168.1.23/24"],
        ["default via 192.168.1.1"],
        "nameserver 192.168.1.1\nnameserver 1.1.1.1\n",
    ),
    "two kinds of addresses": (
        (
            f'{V2}    addresses: [192.168.1.23/24, "fd00:1::23/64"]\n    gateway4: 192.168.1.1\n'
            '    gateway6: "fd00:1::1"\n'
            '    nameservers: {search: [home.arpa, lan], addresses: [192.168.1.1, "fd00:1::1"]}\n'
        ),
        ["192.168.1.23/24", "fd00:1::23/64"],
        ["default via 192.168.1.1", "default via fd00:1::1"],
        "search home.arpa lan\nnameserver 192.168.1.1\nnameserver fd00:1::1\n",
    ),
    "routes of all kinds": (
        (
            "network:\n  version: 2\n  ethernets:\n    any:\n      addresses: [10.0.0.5/24, 10.1.0.5/255.255.0.0]\n"
            "      routes:\n        - {to: 0.0.0.0/0, via: 10.0.0.1, metric: 7}\n"
            "        - {to: 10.9.0.0/16, via: 172.16.0.1, on-link: true}\n"
        ),
        ["10.0.0.5/24", "10.1.0.5/16"],
        ["10.9.0.0/16 via 172.16.0.1", "default via 10.0.0.1"],
        "",
    ),
}


@pytest.mark.parametrize("form", NETWORKS)
def test_every_form_of_network_config_is_what_the_card_has(
    form: str, shell: str, project_folder: Path, tmp_path: Path
) -> None:
    text, addresses, routes, resolv = NETWORKS[form]
    room = guest_room(tmp_path / "guest", project_folder, shell, network_config=text)
    said = room.run(
        "network",
        before="/usr/sbin/ip link add eth0 type veth peer name peer; /usr/sbin/ip link set peer up",
        after="echo; /usr/sbin/ip -j address show eth0; /usr/sbin/ip -j -4 route; /usr/sbin/ip -j -6 route",
    )
    *_, cards, routes4, routes6 = said.splitlines()
    (card,) = json.loads(cards)
    has = [f"{one['local']}/{one['prefixlen']}" for one in card["addr_info"] if one["scope"] == "global"]
    assert has == addresses
    found = [route for route in json.loads(routes4) + json.loads(routes6) if "gateway" in route]
    assert sorted(f"{route['dst']} via {route['gateway']}" for route in found) == routes
    assert [route.get("metric") for route in found if route["dst"] == "default"][:1] == [
        7 if "metric" in text else None
    ]
    assert room.text("etc/resolv.conf") == resolv
    assert not (room.folder / "asked").exists()
    assert all(f"network: eth0 has {address}" in said for address in addresses)


def test_a_card_has_the_name_and_the_mtu_that_were_asked_for_and_dhcp(
    shell: str, project_folder: Path, tmp_path: Path
) -> None:
    text = f"{V2}    match: {{name: 'e*'}}\n    set-name: lan0\n    mtu: 1400\n    dhcp4: true\n    optional: true\n"
    room = guest_room(tmp_path / "guest", project_folder, shell, network_config=text)
    said = room.run(
        "network",
        before="/usr/sbin/ip link add eth0 type veth peer name peer",
        after="echo; /usr/sbin/ip -j link show lan0; until grep -q lan0 $1/asked; do :; done",
    )
    (card,) = json.loads(said.splitlines()[-1])
    assert (card["mtu"], "UP" in card["flags"]) == (1400, True)
    assert "lan0 asks for an address by DHCP" in said
    assert "-i lan0 " in room.text("asked")


def test_what_a_card_does_not_take_is_told_and_the_rest_is_done(
    shell: str, project_folder: Path, tmp_path: Path
) -> None:
    room = guest_room(tmp_path / "guest", project_folder, shell)
    (room.folder / "seed/seed.conf").write_text(
        "set_name=a/b\naddress=10.0.0.5/24\naddress=10.0.0.5/24\nroute=default via 10.77.0.1\ndns=10.0.0.1\n"
    )
    said = room.run("network", before="/usr/sbin/ip link add eth0 type veth peer name peer")
    assert "eth0 cannot be renamed to a/b" in said
    assert "eth0 does not take the address 10.0.0.5/24" in said
    assert "eth0 does not take the route default via 10.77.0.1" in said
    assert room.text("etc/resolv.conf") == "nameserver 10.0.0.1\n"
