"""Text from outside reaches a terminal only as printable characters, and in one line where one is meant."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli import terminal
from builder.cli.terminal import Terminal
from builder.errors import BuildError
from builder.text import escaped, escaped_json, one_line
from tests.conftest import GOLDEN
from tests.planned import DEBIAN

CHARACTERS = {
    "escape": "\x1b",
    "bell": "\a",
    "backspace": "\b",
    "carriage-return": "\r",
    "nul": "\0",
    "delete": "\x7f",
    "c1-control-sequence": "\x9b",
    "right-to-left-override": "\u202e",
    "isolate": "\u2066",
    "zero-width-space": "\u200b",
    "line-separator": "\u2028",
    "byte-order-mark": "\ufeff",
    "half-a-surrogate-pair": "\udc80",
    "tag": "\U000e0041",
}


@pytest.mark.parametrize("name", CHARACTERS)
def test_a_character_that_is_not_printable_is_shown_as_an_escape(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"a{CHARACTERS[name]}b"
    terminal.show(text)
    terminal.show_lines([text])
    terminal.show_json({text: text})
    stream = io.StringIO()
    shown = Terminal(stream)
    shown.step("step", text)
    shown.error(str(BuildError(text, where=text, hint=text)))
    shown.close()
    output = capsys.readouterr().out
    for printed in (output, stream.getvalue()):
        assert all(character.isprintable() or character == "\n" for character in printed)
    assert json.loads(output.split("\n", 2)[2]) == {text: text}


@pytest.mark.parametrize("text", ["plain", "tab\tand\nline", "Grüße 東京 ✓", ""])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert (escaped(text), escaped_json(text)) == (text, text)
    assert one_line(text) == text.replace("\t", "\\t").replace("\n", "\\n")


def test_a_line_end_in_a_name_forges_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_lines(["golden  link /etc/x -> y\nnote    all is well", "second"])
    assert capsys.readouterr().out == "golden  link /etc/x -> y\\nnote    all is well\nsecond\n"
    assert str(BuildError("is damaged", where="x\nerror: y")).splitlines() == ["x\\nerror: y: is damaged"]


def test_plan_shows_the_target_of_a_link_as_it_is(
    pimu: Callable[..., int], project_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = project_folder / "overlays/roles/worker/root/etc/zz"
    link.symlink_to("x\x1b[2K\x1b[1A\ny")
    assert pimu("plan", "node-003", "--role", "worker", "--base", DEBIAN) == 0
    output = capsys.readouterr().out
    assert "x\\x1b[2K\\x1b[1A\\ny" in output
    assert all(line.isprintable() for line in output.splitlines())
    assert pimu("plan", "node-003", "--role", "worker", "--base", DEBIAN, "--json") == 0
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    assert any(edit.get("target") == "x\x1b[2K\x1b[1A\ny" for edit in json.loads(printed)["edits"])


def test_goldens_hold_nothing_that_would_be_escaped() -> None:
    for golden in GOLDEN.iterdir():
        assert escaped(golden.read_text()) == golden.read_text()
