"""The table of limits is the only one: no other module has a number that bounds a thing from outside."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from builder import limits
from tests.house.test_floors import Source, sources

TABLE = "builder.limits"
NAME = re.compile(r"LIMIT|LARGEST|LONGEST|DEEPEST|MOST|MAX_|SECONDS|TIMEOUT|PATIENCE|SILENCE|STALL|WITHIN")
WORDS = frozenset(
    ["deepest", "largest", "limit", "longest", "maxlen", "memlimit", "most", "silence", "timeout", "total"]
)
"""Names of arguments that bound something."""
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
PRLIMIT = re.compile(r"--(as|core|cpu|data|fsize|memlock|nofile|nproc|rss|stack)=\d")
"""An option of prlimit(1) with its number."""

FORMAT, REPORT, OURS = "a fact of a format", "rows of our own report", "a choice about our own work"
ELSEWHERE = {
    "builder.bake.binfmt._PER_NAMESPACE": "a version of Linux",
    "builder.bake.bytecode._FIRST_ORDERED": "a version of Python",
    "builder.bake.twice._MOST": REPORT,
    "builder.base.partitions._PRIMARY": FORMAT,
    "builder.features.boot.settings.LONGEST_LINE": FORMAT,
    "builder.features.boot.settings.LONGEST_QUIRKS": FORMAT,
    "builder.features.guest.checks.MOST_RESTARTS": "what a healthy Pi does",
    "builder.features.room._LEAST_DISK": OURS,
    "builder.features.trim.checks.TRIM_WITHIN": "what a healthy Pi does",
    "builder.features.watchdog.settings.LONGEST": "the range of a key",
    "builder.features.watchdog.settings.SHORTEST": "the range of a key",
    "builder.fetch.signatures._CODE": FORMAT,
    "builder.flash.device._MOST_UNFLUSHED": OURS,
    "builder.flash.guard.DEFAULT_MAX_SIZE": "the default of an option, which asks for another word and stops nobody",
    "builder.flash.writer._STALL": "after it something is said, and nothing stops",
    "builder.fs.qcow2._V2_LENGTH": FORMAT,
    "builder.fs.qcow2._V3_LENGTH": FORMAT,
    "builder.guest.iso._XLOADFLAGS": FORMAT,
    "builder.host.free_space._FULL": OURS,
    "builder.image.structure._ZST_LONGEST_HEADER": FORMAT,
    "builder.machines.appliance._KVM_SECONDS": OURS,
    "builder.model.authorized_keys._SMALLEST_RSA": "a strength, below which a key is refused",
    "builder.model.k3s_token.SHORTEST_GOOD": "a strength, below which something is said",
    "builder.plan.line_ends._SHOWN": REPORT,
    "builder.project.folder._NAME_LENGTH": "the form of a name, as DNS has it",
    "builder.store.reasons._LONGEST": REPORT,
    "builder.store.reasons._MOST": REPORT,
    "builder.verify.differences._MOST_NAMES": REPORT,
}
"""Constants that the rule finds, and why they bound nothing from outside."""


def is_number(node: ast.expr) -> bool:
    """Whether an expression has a number in it that could be a bound: 0 and 1 are none."""
    if isinstance(node, ast.Tuple):
        return any(map(is_number, node.elts))
    if isinstance(node, ast.BinOp):
        return is_number(node.left) or is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value not in (0, 1)


def constants(tree: ast.Module) -> Iterator[str]:
    """Names that a module, or a class in it, gives to numbers."""
    for body in (tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))):
        for node in body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                yield from (name.id for name, value in pairs if isinstance(name, ast.Name) and is_number(value))


def bounds(tree: ast.Module) -> Iterator[ast.expr]:
    """Expressions that bound something: arguments with a name of WORDS, their defaults, and names beside < or >."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (word.value for word in node.keywords if word.arg in WORDS)
        elif isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args]
            pairs = [*zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True)]
            pairs += [(name, value) for name, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value]
            yield from (value for name, value in pairs if name.arg in WORDS)
        elif isinstance(node, ast.Compare) and any(isinstance(sign, ORDER) for sign in node.ops):
            yield from (side for side in (node.left, *node.comparators) if isinstance(side, ast.Name))


def found(source: Source) -> Iterator[str]:
    """Each bound in a module: `module.NAME` of a constant, or `file:line` of a number in the middle of the code."""
    bounding = list(bounds(source.tree))
    used = {node.id for bound in bounding for node in ast.walk(bound) if isinstance(node, ast.Name)}
    yield from (f"{source.module}.{name}" for name in constants(source.tree) if NAME.search(name) or name in used)
    yield from (f"{source.path}:{bound.lineno}" for bound in bounding if is_number(bound))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and PRLIMIT.search(node.value):
            yield f"{source.path}:{node.lineno}"


def test_no_limit_stands_outside_of_the_table() -> None:
    everywhere = {name for source in sources() if source.module != TABLE for name in found(source)}
    assert not everywhere - ELSEWHERE.keys(), "move it to builder/limits.py"
    assert not ELSEWHERE.keys() - everywhere, "no such constant"


@pytest.mark.parametrize(
    "code",
    [
        "_LARGEST_FILE = 16 << 20",
        "_SILENCE, _PATIENCE = 600.0, 7200.0",
        "_HOLES = 2\ntar_out(limit=_HOLES * size)",
        "_SMALL = 64 << 10\ndef f(size):\n    return size <= _SMALL",
        "run(argv, timeout=60)",
        "def read(path, limit=65536): ...",
        "class Request:\n    TIMEOUT = 60",
        'run(["prlimit", "--as=1073741824"])',
    ],
)
def test_the_rule_finds(code: str) -> None:
    assert list(found(Source(sources()[0].path, "builder.example", ast.parse(code))))


def test_the_table_gives_each_limit_a_reason_and_is_a_leaf() -> None:
    (table,) = (source for source in sources() if source.module == TABLE)
    assert not [name for name, _ in table.imports() if name.startswith("builder")]
    after = dict(zip(table.tree.body, table.tree.body[1:], strict=False))
    names = [name for name in vars(limits) if name.isupper() and name not in ("KIB", "MIB", "GIB")]
    told = [
        node.targets[0].id
        for node, reason in after.items()
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(reason, ast.Expr)
        and isinstance(reason.value, ast.Constant)
    ]
    assert told == names


def test_each_limit_is_used() -> None:
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for source in sources()
        if source.module != TABLE
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute | ast.alias)
    }
    assert not {name for name in vars(limits) if name.isupper()} - used
