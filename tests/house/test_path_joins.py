"""Each place in builder/ that joins a path with a name that is no constant is known, with the source of that name.

A name from an image, an ISO, an archive or a manifest must never become a path of the host. So a new place fails here
until somebody has said in tests/path_joins.txt where its name comes from.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.test_floors import sources

KNOWN = Path(__file__).parents[1].joinpath("path_joins.txt")
_JOINING = frozenset({"joinpath", "with_name", "with_stem", "with_suffix", "Path"})
_PATH_MODULES = frozenset({"path", "posixpath", "ntpath"})
_READING = frozenset({"r", "rb", "rt", "r:"})


def _is_constant(node: ast.expr) -> bool:
    """Literals, names in capitals and what is put together from them: nobody outside can choose these."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper() or name == "__file__"
        case ast.JoinedStr(values=values):
            return all(map(_is_constant, values))
        case ast.FormattedValue(value=value):
            return _is_constant(value)
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) and _is_constant(right)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            return _is_constant(value)
    return False


def _joins(function: ast.AST) -> Iterator[ast.expr]:
    for node in _own(function):
        match node:
            case ast.BinOp(op=ast.Div(), right=right) if not _is_constant(right):
                yield node
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=args) if name in _JOINING:
                # The first of several is the folder, as what stands before a slash is.
                names = args[1:] if name == "Path" and len(args) > 1 and not _is_built(args[0]) else args
                if not all(map(_is_constant, names)):
                    yield node
            case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id="Path"), *names]):
                if not all(map(_is_constant, names)):
                    yield node
            case ast.Call(func=ast.Attribute(attr="join", value=value), args=args) if _last(value) in _PATH_MODULES:
                if not all(map(_is_constant, args)):
                    yield node
            case ast.Call(func=ast.Attribute(attr="open") | ast.Name(id="open")) if _opens_by_name(node):
                yield node


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_built(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp | ast.JoinedStr)


def _opens_by_name(call: ast.Call) -> bool:
    """Whether a call of open() writes, or is given a name that is put together from others: `Path.open` has only a
    mode, `open`, `os.open` and `tarfile.open` have a path first."""
    is_method = isinstance(call.func, ast.Attribute) and _last(call.func.value) not in {"os", "io", "tarfile", "gzip"}
    args = call.args if is_method else call.args[1:]
    modes = [*args[:1], *(word.value for word in call.keywords if word.arg == "mode")]
    reads = all(isinstance(mode, ast.Constant) and mode.value in _READING for mode in modes)
    built = not is_method and bool(call.args) and _is_built(call.args[0])
    return not reads or (built and not _is_constant(call.args[0]))


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions in it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _places() -> Iterator[str]:
    for source in sources():
        for scope in ast.walk(source.tree):
            if isinstance(scope, ast.FunctionDef | ast.Module):
                name = getattr(scope, "name", "<module>")
                yield from (f"{source.module} {name}: {ast.unparse(node)}" for node in _joins(scope))


WAYS = {
    "Path(name)": True,
    "Path(f'/tmp/{name}')": True,
    "Path('/tmp/' + name)": True,
    "Path('/tmp', name)": True,
    "Path(f'/tmp/{name}', 'a')": True,
    "folder / name": True,
    "folder.joinpath('a', name)": True,
    "path.with_suffix(name)": True,
    "path.with_name(name + '.tmp')": True,
    "os.path.join('/tmp', name)": True,
    "posixpath.join(folder, name)": True,
    "map(Path, names)": True,
    "open('/tmp/' + name)": True,
    "open(f'/tmp/{name}', 'rb')": True,
    "open(name, 'w')": True,
    "open(name, mode='a')": True,
    "name.open('wb')": True,
    "name.open(mode=how)": True,
    "os.open(name, os.O_WRONLY)": True,
    "tarfile.open(name, 'w')": True,
    "Path('/tmp')": False,
    "Path(__file__)": False,
    "Path(folder, 'a')": False,
    "folder / FOLDER / 'a'": False,
    "path.with_suffix('.tmp')": False,
    "', '.join(names)": False,
    "os.path.join('/tmp', 'a')": False,
    "open('/etc/passwd')": False,
    "path.open('rb')": False,
    "path.open()": False,
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_make_a_path_of_a_name_is_seen(way: str) -> None:
    assert bool(list(_joins(ast.parse(way)))) == WAYS[way]


def test_each_name_that_becomes_a_path_is_known() -> None:
    found = dict.fromkeys(_places())
    lines = [line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")]
    known = dict(line.split("  <- ", 1) for line in lines)
    assert not found.keys() - known.keys(), "say in tests/path_joins.txt where the name comes from"
    assert not known.keys() - found.keys(), "is no longer in builder/"
    assert all(known.values())
