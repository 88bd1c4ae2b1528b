"""The YAML door: what is read, what is refused, where each value came from, and what the schema says of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from builder import limits
from builder.errors import ConfigurationError
from builder.features import NODE_SETTINGS
from builder.features.swap.settings import Swap
from builder.features.trim.settings import Trim
from builder.model.bridge import StaticAddress
from builder.model.settings import Base
from builder.model.strict import Strict
from builder.profile import Document, derived, merge, nearest, parse, refuse_unknown, validate


def error_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.yaml")
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-7", -7),
        ("4096", 4096),
        ('"4096"', "4096"),
        # everything below is something else in YAML 1.1
        ("no", "no"),
        ("On", "On"),
        ("y", "y"),
        ("True", "True"),
        ("012", "012"),
        ("0755", "0755"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("7.10", "7.10"),
        ("1e3", "1e3"),
        ("2026-11-23", "2026-11-23"),
        ("<<", "<<"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars(written: str, value: object) -> None:
    read = parse(f"key: {written}\n", "f.yaml").data["key"]
    assert (read, type(read)) == (value, type(value))


def test_pyyaml_alone_would_read_them_differently() -> None:
    """The reason for a loader of our own; should PyYAML change, this says so."""
    assert yaml.safe_load("[no, 012, 7.10, 52:54:00:12:34:56]") == [False, 10, 7.1, 41135085296]


@pytest.mark.parametrize("written", ["52:54:00:12:34:56", "1:30", "-1:30", "+12:34:56"])
def test_base_60_numbers_are_refused(written: str) -> None:
    number = yaml.safe_load(written)
    assert isinstance(number, int)
    assert error_of(f"a:\n  - b: {written}\n") == (
        f'f.yaml:2: a.0.b: is the number {number} to many readers of YAML\n  quote it: "{written}"'
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: is given twice, first in line 1"),
        ("a: {b: 1, b: 2}\n", "f.yaml:1: a.b: is given twice, first in line 1"),
        ("a: &x 1\n", "f.yaml:1: anchors and aliases are refused"),
        ("a: 1\nb: *x\n", "f.yaml:2: anchors and aliases are refused"),
        ("a: !!binary aGk=\n", "f.yaml:1: the tag tag:yaml.org,2002:binary is refused"),
        ("a: !!python/name:os.system x\n", "f.yaml:1: the tag tag:yaml.org,2002:python/name:os.system is refused"),
        ("a: {{ b }}\n", "f.yaml:1: a key must be plain text\n  quote a value that starts with { or ["),
        ("- a\n", "f.yaml:1: is not a mapping of keys to values"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: is not YAML: but found another document"),
        ("a:\n\tb: 1\n", "f.yaml:2: is not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\nb: \x07\n", "f.yaml:2: is not YAML: special characters are not allowed"),
        ("a: " + "[" * limits.YAML_LEVELS + "]" * limits.YAML_LEVELS, "f.yaml:1: is nested too deeply"),
        ("#" * (limits.YAML + 1), "f.yaml: is larger than 64 KiB"),
    ],
)
def test_refused_with_file_and_line(text: str, error: str) -> None:
    assert error_of(text) == error


def test_several_faults_are_told_at_once_in_order_of_line() -> None:
    text = "".join(f"k{n}: {n}\n" for n in range(9)) + "k1: 1\nm: 1:30\n"
    assert error_of(text).splitlines() == [
        "f.yaml:10: k1: is given twice, first in line 2",
        "f.yaml:11: m: is the number 90 to many readers of YAML",
        '  quote it: "1:30"',
    ]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert parse(text, "f.yaml").data == {}


def test_origins_name_the_line_of_the_key_or_of_what_encloses_it() -> None:
    origins = parse("a:\n  b: 1\n  list:\n    - x\n    - y\n'p.q': 1\n", "f.yaml").origins
    lines = {"a": 1, "a.b": 2, "a.list.1": 5, "a.b.deeper.still": 2, "a.other": 1, "p.q": 6, "unheard-of": 1}
    assert {path: origins.of(path) for path in lines} == {path: f"f.yaml:{line}" for path, line in lines.items()}


def layers() -> tuple[Document, ...]:
    return (
        parse("packages: {vim: true, tmux: true}\nswap: {size: 1GiB, reserve: 33%}\nlist: [a, b]\n", "base.yaml"),
        parse("\npackages: {tmux: false}\nswap: null\nlist: [c]\n", "role.yaml"),
        parse("\n\nswap: {size: 2GiB}\n", "node.yaml"),
    )


def test_merge_takes_mappings_together_and_replaces_everything_else() -> None:
    assert merge(*layers()).data == {
        "packages": {"vim": True, "tmux": False},
        "swap": {"size": "2GiB"},
        "list": ["c"],
    }


def test_merge_carries_the_lines_along() -> None:
    origins = merge(*layers()).origins
    assert {path: origins.of(path) for path in ("packages.vim", "packages.tmux", "swap.size", "list.0", "list.1")} == {
        "packages.vim": "base.yaml:1",
        "packages.tmux": "role.yaml:2",
        "swap.size": "node.yaml:3",
        "list.0": "role.yaml:4",
        "list.1": "role.yaml:4",
    }
    assert origins.of("swap.reserve") == "node.yaml:3", "the base's line is gone with the base's value"


def test_merge_leaves_its_layers_alone() -> None:
    base, role, node = layers()
    before = [dict(layer.data["swap"]) for layer in (base, node)], dict(base.data["packages"])
    merge(base, role, node)
    merge(base, node)
    assert ([dict(layer.data["swap"]) for layer in (base, node)], dict(base.data["packages"])) == before


def test_parts_of_a_document() -> None:
    document = parse("summary: x\ndefaults:\n  swap: {size: 1GiB}\n", "base.yaml")
    part = document.part("defaults")
    assert (part.data, part.origins.of("swap.size"), part.origins.of("trim")) == (
        {"swap": {"size": "1GiB"}},
        "base.yaml:3",
        "base.yaml:2",
    )
    assert document.without("defaults").data == document.only("summary").data == {"summary": "x"}
    assert document.part("absent").data == {}


def test_derived_values_have_an_origin_without_a_line() -> None:
    assert derived({"hostname": "node-003"}, "the node's name").origins.of("hostname") == "the node's name"


def schema_error(model: type[Strict], text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        validate(model, parse(text, "f.yaml"))
    return str(caught.value)


BASE = """\
summary: s
suite: trixie
architecture: arm64
source: {source}
boot: {{start: 8MiB, size: 512MiB, label: bootfs, mount: /boot/firmware, sectors_per_cluster: 1}}
root: {{start: 520MiB, label: rootfs, margin: 0, features: metadata_csum, mount_options: defaults}}
network: networkmanager
swap_manager: none
growth: none
first_user: none
firmware: static
qemu: {qemu}
machine_id: empty
cloud_init: false
mask: []
groups: []
"""


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{kind: image, ulrs: [x]}", "f.yaml:4: source.ulrs: is not a known key\n  did you mean urls?"),
        ("{kind: packages, packages: x, apt: []}", "f.yaml:4: source.packages: is not a list"),
        ("{kind: packages, packages: [1], apt: x}", "f.yaml:4: source.packages.0: is not text; quote it"),
        ("{kind: packages, packages: []}", "f.yaml:4: source.apt: is missing"),
        (
            "{kind: packages, packages: [], apt: [{url: x, suites: [a], components: [b], keyring: k}]}",
            "f.yaml:4: source.apt.0.url: is not a known key\n  did you mean uri?",
        ),
        ("{kind: tarball}", "f.yaml:4: source: kind 'tarball' is not one of 'packages', 'image'"),
    ],
)
def test_faults_inside_a_union_are_told_at_the_key(source: str, error: str) -> None:
    """pydantic puts the union's member into the location, and one is called `packages` like a key."""
    assert error in schema_error(Base, BASE.format(source=source, qemu='"10.0"'))


def test_a_version_keeps_its_last_digit_without_quotes() -> None:
    source = "{kind: packages, apt: [{uri: http://x, suites: [s], components: [c], keyring: k}], packages: []}"
    assert validate(Base, parse(BASE.format(source=source, qemu="7.10"), "f.yaml")).qemu == "7.10"


@pytest.mark.parametrize(
    ("model", "text", "error"),
    [
        (Swap, "size: big\nreserve: 33%\n", "f.yaml:1: size: is not a size; write for example 64GiB or 512MiB"),
        (Swap, "size: -1\nreserve: 33%\n", "f.yaml:1: size: is less than 64MiB"),
        (Swap, "size: 64\nreserve: 33%\n", "f.yaml:1: size: would be 64 bytes; write 64MiB or 64GiB"),
        (Trim, "calendar: every minute\nenclosures: []\n", "f.yaml:1: calendar: is not a calendar event such as"),
        (Trim, 'calendar: "*:0/2\\n[Service]"\nenclosures: []\n', "f.yaml:1: calendar: is not a calendar event"),
        (Swap, "size: 1GiB\nreserve: 133%\n", "f.yaml:2: reserve: is not a share such as 33%, and is not a size"),
        (Swap, "reserve: 33%\n", "f.yaml:1: size: is missing"),
        (Swap, "sise: 1GiB\nreserve: 33%\n", "f.yaml:1: sise: is not a known key\n  did you mean size?"),
        (Trim, 'calendar: "*:0/2"\nenclosures: 152d:0578\n', "f.yaml:2: enclosures: is not a list"),
        (Trim, "calendar: daily\nenclosures: [JMicron]\n", "f.yaml:2: enclosures.0: does not look like [0-9a-f]{4}:"),
        (StaticAddress, "address: 10.0.0.300/8\ngateway: 10.0.0.1\ndns: []\n", "f.yaml:1: address: Octet 300"),
    ],
)
def test_schema_faults(model: type[Strict], text: str, error: str) -> None:
    assert error in schema_error(model, text)


@pytest.mark.parametrize(
    ("written", "value"),
    [("33%", "33%"), ("16GiB", 16 << 30), ("16G", 16 << 30), ("512 MiB", 512 << 20), ("4194304", 4 << 20)],
)
def test_reserve_is_a_share_or_bytes(written: str, value: object) -> None:
    assert validate(Swap, parse(f"size: 1GiB\nreserve: {written}\n", "f.yaml")).reserve == value


NODE: dict[str, Any] = {
    "name": "node-003",
    "hostname": "node-003",
    "cluster": "pimu",
    "domain": "lan",
    "timezone": "Etc/UTC",
    "locale": "C.UTF-8",
    "role": "worker",
    "base": "debian-trixie",
    "guest": "none",
    "user": {"name": "pimu", "ssh_keys": []},
    "packages": {},
    "overclock": None,
    "swap": None,
    "trim": {"calendar": "*:0/2", "enclosures": []},
    "bridge": {"port": "eth0", "mac": "derived", "ipv4": "dhcp"},
    "machine": None,
    "guest_hostname": "k3s-003",
}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ("bridge: {port: eth0, mac: '52:54:00:AB:CD:EF', ipv4: dhcp}", None),
        (
            "bridge: {port: eth0, mac: derivd, ipv4: dhcp}",
            "n.yaml:1: bridge.mac: is not 'derived' or 'inherit', and is not a MAC",
        ),
        (
            "bridge: {port: eth0, mac: inherit, ipv4: dchp}",
            "n.yaml:1: bridge.ipv4: is not 'dhcp', and is not a mapping",
        ),
        ("bridge: {port: eth0, mac: inherit, ipv4: {address: 10.0.0.2/8}}", "n.yaml:1: bridge.ipv4.dns: is missing"),
        ("timezone: ../../etc/shadow", "n.yaml:1: timezone: does not look like"),
        ("hostname: node_3", "n.yaml:1: hostname: does not look like"),
        ("user: {name: root;, ssh_keys: []}", "n.yaml:1: user.name: does not look like"),
        (
            "user: {name: pimu, ssh_keys: [], password: opensesame}",
            "n.yaml:1: user.password: is not a reference to a secret: env:NAME, file:PATH or prompt",
        ),
        (
            "machine: {memory: 60G, cpus: 9, tb_size: 1, stop_timeout: 99, mac: derived}",
            "n.yaml:1: machine.cpus: is not less than",
        ),
        ("guest: debian", "the node: machine: guest debian needs a machine to run in"),
        (
            "overclock: {arm_freq: 2000, over_voltage: 7}",
            "n.yaml:1: overclock: over_voltage 7 works only with force_turbo",
        ),
        ("overclock: {arm_freq: 2000, over_voltage: 7, force_turbo: sets-the-warranty-bit}", None),
    ],
)
def test_a_node_s_settings(changed: str, error: str | None) -> None:
    document = merge(derived(NODE, "the node"), parse(f"{changed}\n", "n.yaml"))
    if error is None:
        validate(NODE_SETTINGS, document)
        return
    with pytest.raises(ConfigurationError) as caught:
        validate(NODE_SETTINGS, document)
    assert error in str(caught.value)
    assert "opensesame" not in str(caught.value)


def test_unknown_keys_of_a_layer() -> None:
    with pytest.raises(ConfigurationError, match=r"f.yaml:1: pakages: is not a known key\n  did you mean packages\?"):
        refuse_unknown(parse("pakages: {}\n", "f.yaml"), ("packages", "swap"))


def test_nearest_name_or_all_of_them() -> None:
    assert nearest("wroker", ("server", "worker")) == "did you mean worker?"
    assert nearest("xyz", ("worker", "server")) == "known: server, worker"
    assert nearest("xyz", ()) == "known: none"
