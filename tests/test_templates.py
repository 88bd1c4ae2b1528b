"""Templates: strict, sandboxed, and quoting so that no value becomes syntax."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from builder.errors import ConfigurationError
from builder.templates import render

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
def test_yaml_gives_back_the_same_value_at_any_depth(value: object) -> None:
    text = render("a:\n  - b: {{ value | yaml }}\n    c: 1\n", "t", {"value": value})
    assert yaml.safe_load(text) == {"a": [{"b": value, "c": 1}]}
    assert text.count("\n") == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a\nb\n{{ missing }}\n", "t.j2:3: 'missing' is undefined\n  the template knows: node, role"),
        ("a\n{{ missing | sh }}\n", "t.j2:2: 'missing' is undefined\n  the template knows: node, role"),
        ("{% if missing %}{% endif %}", "t.j2:1: 'missing' is undefined\n  the template knows: node, role"),
        ("\n{{ node.nmae }}", "t.j2:2: 'dict object' has no attribute 'nmae'\n  the template knows: node, role"),
        ("\n\n{{ 1 / 0 }}", "t.j2:3: division by zero"),
        ("a\n{{ node", "t.j2:2: unexpected end of template, expected 'end of print statement'."),
        ("{% include 'x' %}", "t.j2:1: no loader for this environment specified"),
    ],
)
def test_errors_name_the_template_s_line(text: str, error: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        render(text, "t.j2", {"node": {"name": "node-003"}, "role": "worker"})
    assert str(caught.value) == error


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ render.__globals__ }}",
        "{% for n in range(10 ** 9) %}{% endfor %}",
        "{{ many.append(1) }}",
    ],
)
def test_a_template_reaches_no_python_and_changes_nothing(text: str) -> None:
    many: list[int] = []
    with pytest.raises(ConfigurationError):
        render(text, "t.j2", {"render": render, "many": many})
    assert many == []
