"""Rules that no linter has: files fit a sitting, functions fit a screen, docstrings name the thing, nothing is of one
author's machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

THIS = Path(__file__)
ROOT = THIS.parents[2]
FOLDERS = ("builder", "profiles", "overlays", "cloud-init", "docs", "tests", ".ci")
LONGEST_FILE = 300
LONGEST_FUNCTION = 60

NOUN_CLAUSE = re.compile(r"\s*(Of|What|Whatever|Those|That|Who|Whose|Whoever|Which|How)\b")
"""The beginnings of a docstring that does not name its thing. `Whether` is none of them: it says what a bool means."""

UNWANTED = re.compile(r"/Users/|/home/(?!pimu/)[a-z]+/|\b(TODO|FIXME|XXX)\b")


def texts(*suffixes: str) -> Iterator[tuple[Path, str]]:
    named = [ROOT / "README.md", ROOT / "Makefile", ROOT / "pyproject.toml"]
    for path in [*named, *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")))]:
        ours = path.is_file() and path != THIS and not {"__pycache__", "access"} & set(path.parts)
        if ours and (not suffixes or path.suffix in suffixes):
            yield path, path.read_bytes().decode(errors="replace")


def test_files_fit_a_sitting() -> None:
    lines = {path: text.count("\n") for path, text in texts(".py", ".sh", "") if path.is_relative_to(ROOT / "builder")}
    assert not {str(path): count for path, count in lines.items() if count > LONGEST_FILE}


def test_functions_fit_a_screen() -> None:
    lines = {
        f"{path}:{node.lineno}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, text in texts(".py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }
    assert not {function: count for function, count in lines.items() if count > LONGEST_FUNCTION}


def test_nothing_of_one_machine_and_nothing_left_for_later() -> None:
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in texts()
        for match in UNWANTED.finditer(text)
    ]
    assert not found


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """All texts that stand alone: of modules, classes and functions, and behind constants and fields."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", ()) if not isinstance(node, ast.Lambda | ast.IfExp) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement.value


def test_docstrings_name_their_thing() -> None:
    found = [
        f"{path}:{docstring.lineno}: {str(docstring.value)[:60]!r}"
        for path, text in texts(".py")
        if path.is_relative_to(ROOT / "builder") or path.is_relative_to(ROOT / "tests")
        for docstring in docstrings(ast.parse(text))
        if isinstance(docstring.value, str) and NOUN_CLAUSE.match(docstring.value)
    ]
    assert not found


@pytest.mark.parametrize("text", ["Of a node its name.", "What is left.", "Those of the disk.", "Whose disk it is."])
def test_a_docstring_that_names_nothing_is_found(text: str) -> None:
    for code in (f'"""{text}"""', f'X = 1\n"""{text}"""', f'class A:\n    def f(self):\n        """{text}"""'):
        (docstring,) = docstrings(ast.parse(code))
        assert NOUN_CLAUSE.match(str(docstring.value))
    assert not NOUN_CLAUSE.match("Whether it is there.")


def test_every_module_says_what_it_is() -> None:
    modules = [(path, text) for path, text in texts(".py") if text.strip() and "hostile" not in path.parts]
    assert not [str(path) for path, text in modules if ast.get_docstring(ast.parse(text)) is None]
