"""Modules of a tree are compiled once more, so that their bytes do not depend on chance."""

from __future__ import annotations

import py_compile
from pathlib import Path

import pytest

from builder.bake.bytecode import unordered_modules


def tree_with(root: Path, python: str, tag: str) -> Path:
    library = root / "usr/lib" / python / "email"
    library.mkdir(parents=True)
    for name in ("parser", "uncompiled"):
        (library / f"{name}.py").write_text("SEEN = 'a' in {'a', 'b'}\n")
    py_compile.compile(str(library / "parser.py"), str(library / f"__pycache__/parser.{tag}.pyc"))
    program = root / "usr/bin" / python
    program.parent.mkdir(parents=True)
    program.touch()
    return root


def test_only_what_the_packages_compiled_is_compiled_again(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "python3.9", "cpython-39")
    assert list(unordered_modules(tree)) == [("python3.9", ["/usr/lib/python3.9/email/parser.py"])]


@pytest.mark.parametrize(("python", "tag"), [("python3.11", "cpython-311"), ("python3.13", "cpython-313")])
def test_an_ordered_python_is_left_alone(tmp_path: Path, python: str, tag: str) -> None:
    assert not list(unordered_modules(tree_with(tmp_path, python, tag)))


def test_modules_without_their_interpreter_are_left_alone(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "python3.9", "cpython-39")
    (tree / "usr/bin/python3.9").unlink()
    assert not list(unordered_modules(tree))
