"""One module's definitions: each one's syntax without its prose, and the other definitions that it mentions."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

Reference = tuple[str, str]
"""A module and a name in it; the name "" means all of the module."""

DECLARATION = "TOOLS"
"""The constant by which a module declares the host programs that its functions run."""
_PROSE = frozenset({"description", "title", "examples"})
"""Keywords of pydantic's Field that shape no value."""
_BESIDE = "Path(__file__).with_name"


@dataclass(frozen=True, slots=True)
class Definition:
    """A top-level function, class or constant. `digest` is the sha256 of its syntax tree without prose; `files` lie
    beside the module."""

    digest: str
    uses: tuple[Reference, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """`definitions` by name; the one named "" is all statements that define nothing."""

    definitions: Mapping[str, Definition]
    tools: tuple[str, ...]


@functools.cache
def analysed(source: str, module: str) -> Module:
    """The definitions of a module, whose dotted name is `module`. Raises SyntaxError."""
    tree = ast.parse(source)
    imported = dict(_imported(tree))
    statements: dict[str, list[ast.stmt]] = {}
    tools: tuple[str, ...] = ()
    for node in tree.body:
        names = _defined(node)
        if names == [DECLARATION] and isinstance(node, ast.Assign):
            tools = tuple(ast.literal_eval(node.value))
        elif not isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in names or [""]:
                statements.setdefault(name, []).append(node)
    own = statements.keys() - {""}
    definitions = {name: _definition(nodes, module, own - {name}, imported) for name, nodes in statements.items()}
    return Module({name: one for name, one in definitions.items() if one is not None}, tools)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each imported thing's local name and dotted name, wherever in the module it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name.split(".")[0], alias.name) for alias in node.names)


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _definition(nodes: list[ast.stmt], module: str, own: Set[str], imported: Mapping[str, str]) -> Definition | None:
    """The definition of one name by its statements; None where they are prose alone."""
    uses = {use for node in nodes for use in _uses(node, module, own, imported)}
    files = {file for node in nodes for file in _files(node)}
    bare = [kept for node in nodes if (kept := _Bare().visit(node)) is not None]
    text = "\n".join(ast.unparse(node) for node in bare)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Definition(digest, tuple(sorted(uses)), tuple(sorted(files))) if bare else None


def _uses(node: ast.stmt, module: str, own: Set[str], imported: Mapping[str, str]) -> Iterator[Reference]:
    """An attribute of an imported name may be a name in a module; a bare name may be a module as a value."""
    attributes = {id(one.value): one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    for one in ast.walk(node):
        match one:
            case ast.Name(id=name) if name in imported:
                yield imported[name], attributes.get(id(one), "")
            case ast.Name(id="__name__"):
                yield module, ""
            case ast.Name(id=name) | ast.Constant(value=str(name)) if name in own:  # quotes: an annotation
                yield module, name
            case ast.Constant(value=str(text)) if text.startswith("builder.") and text.replace(".", "").isidentifier():
                yield text, ""


def _files(node: ast.stmt) -> Iterator[str]:
    for one in ast.walk(node):
        match one:
            case ast.Call(func=function, args=[ast.Constant(value=str(name))]) if ast.unparse(function) == _BESIDE:
                yield name


class _Bare(ast.NodeTransformer):
    """Takes away docstrings, the words of errors, and the descriptions and examples of settings."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        for one in ast.walk(node):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                one.value = ""
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """`key: int = Field(description="...")` is `key: int`."""
        bare = self.generic_visit(node)
        if isinstance(node.value, ast.Call) and _is_field(node.value) and not node.value.args + node.value.keywords:
            node.value = None
        return bare

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`Field(default=1, description="...")` is `1`."""
        if _is_field(node):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in _PROSE]
            if not node.args and [keyword.arg for keyword in node.keywords] == ["default"]:
                return self.visit(node.keywords[0].value)  # type: ignore[no-any-return]
        return self.generic_visit(node)


def _is_field(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "Field"
