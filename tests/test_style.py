"""What no linter looks at: files that fit a sitting, functions that fit a screen, nothing of one author's machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

THIS = Path(__file__)
ROOT = THIS.parents[1]
FOLDERS = ("builder", "profiles", "overlays", "cloud-init", "docs", "tests", ".ci")
LONGEST_FILE = 300
LONGEST_FUNCTION = 60

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


def test_every_module_says_what_it_is() -> None:
    assert not [str(path) for path, text in texts(".py") if text.strip() and ast.get_docstring(ast.parse(text)) is None]
