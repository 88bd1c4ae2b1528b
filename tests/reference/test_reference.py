"""The reference of the keys: complete, true to the models, and fresh in docs/."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ConfigDict, ValidationError, create_model

from builder.profile import parse
from builder.reference import KINDS, Key, find, json_schema, keys, nearest_to, page

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "cluster": "profiles/cluster.yaml",
    "node": "profiles/[nrp]*[oe]*s/*.yaml",
    "base": "profiles/bases/*.yaml",
    "guest": "profiles/guests/*.yaml",
}
"""Patterns of the shipped files by kind; that of `node` fits nodes, roles and presets."""
SHIPPED = [
    pytest.param(kind, path, id=str(path.relative_to(ROOT / "profiles")))
    for kind, pattern in FOLDERS.items()
    for path in sorted(ROOT.glob(pattern))
]

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]
each_key = pytest.mark.parametrize("key", keys(), ids=lambda key: f"{key.kind.name}-{key.path}")


def one(path: str) -> Key:
    (key,) = find(path)
    return key


def accept(key: Key, value: object) -> None:
    """Raises ValidationError for a value that the key cannot have. A layer is judged key by key."""
    if isinstance(value, dict) and key.path == "defaults":
        for name, part in value.items():
            (node_key,) = (one for one in find(name) if one.kind.name == "node")
            accept(node_key, part)
        return
    alone: Any = create_model("Alone", __config__=ConfigDict(strict=True, extra="forbid"), value=(key.annotation, ...))
    alone.model_validate({"value": value})


class TestKeys:
    @each_key
    def test_each_key_has_a_sentence_and_examples(self, key: Key) -> None:
        assert key.sentence.endswith("."), "say it with Field(description=...)"
        assert key.sentence[0].isupper()
        assert key.examples, "say one with Field(examples=[...])"

    @each_key
    def test_the_model_takes_each_example(self, key: Key) -> None:
        for example in key.examples:
            accept(key, example)

    def test_an_example_that_the_model_refuses_is_found(self) -> None:
        with pytest.raises(ValidationError):
            accept(one("watchdog"), "15 seconds")

    @each_key
    def test_an_example_can_be_copied(self, key: Key) -> None:
        data: Any = parse(key.example_text(), "example").data
        for part in key.place:
            data = data[0] if part == "[]" else data[part]
        assert data == key.examples[0]

    def test_the_keys_of_features_are_there(self) -> None:
        assert one("watchdog").kind.name == "node"
        assert one("boot.usb_quirks").sentence.startswith("Quirks of USB enclosures")

    def test_the_keys_that_no_node_may_set_are_not(self) -> None:
        assert not [key.path for key in keys() if key.kind.name == "node" and key.path in ("name", "user", "domain")]

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("bridge.mac", "derived, inherit or MAC address"),
            ("machine.cpus", "whole number from 1 to 4"),
            ("machine.memory", "auto or size of at least 256MiB"),
            ("trim.enclosures", "list of USB ids"),
            ("packages", "mapping from package name to true or false"),
            ("k3s.images", "tar.zst, tar.gz, tar or null"),
            ("answers", "mapping from version to mapping or null"),
        ],
    )
    def test_types_are_said_in_words(self, path: str, words: str) -> None:
        assert one(path).type == words

    @pytest.mark.parametrize(
        ("path", "text"),
        [("swap.size", "required"), ("watchdog", "not set"), ("updates", "none"), ("boot.kernel_words", "[]")],
    )
    def test_defaults(self, path: str, text: str) -> None:
        assert one(path).default_text == text

    def test_a_key_of_some_variants_says_which(self) -> None:
        assert one("k3s.datastore").when == ("runs: server",)
        assert one("k3s.taints").when == ("runs: agent", "runs: server")
        assert [key.when for key in find("source.mirror")] == [("kind: installer",)]

    @pytest.mark.parametrize("path", ["answers.VERSION.ntp", "answers.3.17.ntp", "answers.ntp"])
    def test_an_entry_may_be_named_in_any_way(self, path: str) -> None:
        assert one(path).path == "answers.VERSION.ntp"

    @pytest.mark.parametrize(
        ("path", "near"),
        [("wachdog", "watchdog"), ("bridge.ip4", "bridge.ipv4"), ("mtu.ipv4", "bridge.ipv4"), ("zz", "")],
    )
    def test_the_nearest_key(self, path: str, near: str) -> None:
        assert nearest_to(path) == near


class TestFiles:
    def test_the_page_is_fresh(self) -> None:
        assert f"{page()}\n" == (ROOT / "docs/reference.md").read_text(), "make reference"

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_schemas_are_fresh(self, kind: str) -> None:
        assert json_schema(KINDS[kind]) == json.loads((ROOT / f"docs/schema/{kind}.json").read_text()), "make reference"

    def test_there_is_no_other_schema(self) -> None:
        assert {path.stem for path in (ROOT / "docs/schema").iterdir()} == KINDS.keys()

    def test_every_kind_is_made_by_make(self) -> None:
        assert f"KINDS = {' '.join(KINDS)}\n" in (ROOT / "Makefile").read_text()


def faults(kind: str, data: object) -> list[str]:
    schema = json_schema(KINDS[kind])
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(data)]


class TestSchemas:
    @pytest.mark.parametrize(("kind", "path"), SHIPPED)
    def test_the_shipped_files_fit(self, kind: str, path: Path) -> None:
        assert not faults(kind, parse(path.read_text(), path.name).data)

    def test_all_folders_are_looked_at(self) -> None:
        shipped = {parameter.values[1] for parameter in SHIPPED}
        assert shipped == set((ROOT / "profiles").rglob("*.yaml"))

    @pytest.mark.parametrize(
        ("kind", "text", "place"),
        [
            ("node", "watchdogg: 15s", "$"),
            ("node", "machine: {cpus: 9}", "$.machine"),
            ("node", "updates: all", "$.updates"),
            ("node", "bridge: {ipv4: {adress: 192.168.1.13/24}}", "$.bridge.ipv4"),
            ("base", "defaults: {gest: alpine}", "$.defaults"),
            ("guest", "disk: [128GiB]", "$.disk"),
            ("cluster", "user: {name: pimu}", "$.user"),
        ],
    )
    def test_a_fault_is_found(self, kind: str, text: str, place: str) -> None:
        assert place in faults(kind, yaml.safe_load(text))

    @pytest.mark.parametrize("text", ["machine: {memory: 60GiB}", "k3s: {labels: {}}", "k3s: null", "ssd: 240GB"])
    def test_a_layer_may_say_a_part(self, text: str) -> None:
        assert not faults("node", yaml.safe_load(text))


class TestCommand:
    def test_one_key(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain", "bridge.ipv4") == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"bridge.ipv4: {one('bridge.ipv4').sentence}\n")
        assert "type     dhcp or mapping\n" in shown
        assert "default  required\n" in shown
        assert "keys     bridge.ipv4.address, bridge.ipv4.gateway, bridge.ipv4.dns\n" in shown
        assert shown.endswith("example  bridge:\n             ipv4: dhcp\n")

    def test_a_key_of_several_kinds(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain", "architecture") == 0
        shown = capsys.readouterr().out
        assert [line.split()[1] for line in shown.splitlines() if line.startswith("  files")] == [
            "profiles/bases/",
            "profiles/guests/",
        ]

    def test_a_wrong_key_ends_as_other_usage_errors(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain", "wachdog") == 2
        assert "there is no key 'wachdog' in profiles/; did you mean watchdog?" in capsys.readouterr().err
        assert pimu("explain", "zz") == 2
        assert "`pimu-build explain` lists all keys" in capsys.readouterr().err

    def test_all_keys(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines] == [[key.kind.name, key.path] for key in keys()]

    def test_json(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain", "updates", "--json") == 0
        (told,) = json.loads(capsys.readouterr().out)
        assert (told["key"], told["type"], told["default"]) == ("updates", "none or security", "none")
        assert pimu("explain", "--json") == 0
        assert len(json.loads(capsys.readouterr().out)) == len(keys())

    def test_the_files_of_docs(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain", "--markdown") == 0
        assert capsys.readouterr().out == (ROOT / "docs/reference.md").read_text()
        assert pimu("explain", "--json-schema", "node") == 0
        assert capsys.readouterr().out == (ROOT / "docs/schema/node.json").read_text()

    def test_one_wish_at_a_time(self, pimu: Run, capsys: Output) -> None:
        assert pimu("explain", "swap", "--markdown") == 2
        assert "exclude each other" in capsys.readouterr().err
