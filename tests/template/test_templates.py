"""Templates: strict, sandboxed, and quoting so that no value becomes syntax."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from builder.errors import ConfigurationError
from builder.features.variables import plain
from builder.model.k3s import K3sAgent, K3sCluster
from builder.template.strict import Plain, render

NASTY = [
    "",
    "plain",
    "it's",
    'say "hi"',
    "$(reboot)",
    "`id`",
    "a\nb",
    "\\",
    "*",
    "no",
    "52:54:00:12:34:56",
    "- x: {y}",
    "é😀",
]


def test_a_final_newline_stays_and_block_lines_leave_nothing() -> None:
    text = "a\n{% if wanted %}\n  {% for n in many %}\nline {{ n }}\n  {% endfor %}\n{% endif %}\nend\n"
    assert render(text, "t", {"wanted": True, "many": [1, 2]}) == "a\nline 1\nline 2\nend\n"
    assert render("no newline", "t", {}) == "no newline"


@pytest.mark.parametrize("value", NASTY)
def test_sh_gives_the_shell_one_word_of_the_same_text(value: str) -> None:
    script = render("printf %s {{ value | sh }}", "t", {"value": value})
    assert subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout.decode() == value


@pytest.mark.parametrize("value", [*NASTY, "\x7f", "\u2028", None, True, 0, ["a", "no", 1], {"k": "v\n", "l": []}])
def test_yaml_gives_back_the_same_value_at_any_depth(value: Plain) -> None:
    text = render("a:\n  - b: {{ value | yaml }}\n    c: 1\n", "t", {"value": value})
    assert yaml.safe_load(text) == {"a": [{"b": value, "c": 1}]}
    assert text.count("\n") == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a\nb\n{{ missing }}\n", "t.j2:3: there is no variable missing\n  the template knows: guest, node, role"),
        ("a\n{{ noed | sh }}\n", "t.j2:2: there is no variable noed\n  did you mean node?"),
        (
            "{% if missing %}{% endif %}",
            "t.j2:1: there is no variable missing\n  the template knows: guest, node, role",
        ),
        ("\n{{ node.nme }}", "t.j2:2: node has no nme\n  did you mean name?"),
        ("{{ node.swap.seize }}", "t.j2:1: node.swap has no seize\n  did you mean size?"),
        ("{{ node['keys'][0].nme }}", "t.j2:1: node.keys.0 has no nme\n  known: kind"),
        ("{{ node.name.x }}", "t.j2:1: a text has no x"),
        ("{{ guest.name }}", "t.j2:1: there is no name: it is looked for in none"),
        ("{{ node.name + 1 }}", 't.j2:1: can only concatenate a text (not "a number") to a text'),
        ("{% for x in 1 %}{% endfor %}", "t.j2:1: a number is not iterable"),
        ("\n\n{{ 1 / 0 }}", "t.j2:3: division by zero"),
        ("a\n{{ node", "t.j2:2: unexpected end of template, expected 'end of print statement'."),
        ("{% include 'x' %}", "t.j2:1: no loader for this environment specified"),
    ],
)
def test_errors_name_the_template_s_line_and_no_class_of_python(text: str, error: str) -> None:
    variables: dict[str, Plain] = {
        "node": {"name": "node-003", "swap": {"size": 1}, "keys": [{"kind": "rsa"}]},
        "role": "worker",
        "guest": None,
    }
    with pytest.raises(ConfigurationError) as caught:
        render(text, "t.j2", variables)
    assert str(caught.value) == error


def test_a_key_wins_over_a_method_of_the_same_name() -> None:
    variables: dict[str, Plain] = {"node": {"items": "mine", "copy": 2}}
    assert render("{{ node.items }} {{ node.copy }} {{ node.keys() | list | length }}", "t", variables) == "mine 2 2"


def test_models_become_plain_data_with_what_follows_from_them() -> None:
    cluster = K3sCluster(
        version="v1.36.5+k3s1",
        server="https://node-001.lan:6443",
        token="prompt",
        agent_token="env:T",
        releases="https://example.org",
        airgap=True,
        images="tar",
    )
    given = plain(
        {"k3s": cluster, "agent": K3sAgent(runs="agent", labels={"b": "2", "a": "1"}, taints=("x:NoExecute",))}
    )
    text = (
        "{{ k3s.server_name }} {{ k3s.image_archives.amd64 }} {{ agent.label_words | join(',') }} {{ agent.taints[0] }}"
    )
    assert isinstance(given, dict)
    assert render(text, "t", given) == "node-001.lan k3s-airgap-images-amd64.tar a=1,b=2 x:NoExecute"


@pytest.mark.parametrize("value", [Path("/"), 1.5, b"x", {1}, {1: 2}, len, K3sCluster, object()])
def test_nothing_but_plain_data_is_given_to_a_template(value: object) -> None:
    with pytest.raises(TypeError):
        plain({"node": value})
