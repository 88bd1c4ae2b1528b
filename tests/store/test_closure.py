"""A product's key holds all of our own code that shapes its bytes, and no word of prose."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from builder.host import tools
from builder.store import closure as closures
from builder.store.closure import KEPT, PACKAGE, SEAM, Closure, Code, closure
from builder.store.step import MAKERS, Maker
from builder.store.syntax import DECLARATION

for module in ("base.imported", "bake", "guest.airgap", "guest.alpine", "guest.baked", "image.frames", "image.golden"):
    import_module(f"builder.{module}")
KINDS = {"accel", "alpine", "frames", "golden", "guests", "imports", "k3s", "layers"}


@cache
def reached(kind: str) -> Closure:
    maker = MAKERS[kind]
    return Code().closure(maker.module, maker.function)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the builder, for a test to change."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "builder", ignore=shutil.ignore_patterns("__pycache__")))


def digests(package: Path) -> dict[str, str]:
    code = Code(package)
    return {kind: code.closure(maker.module, maker.function).digest for kind, maker in MAKERS.items()}


def anew(package: Path, file: str, old: str, new: str) -> set[str]:
    """The kinds whose products are made anew after a change of the code."""
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return {kind for kind, digest in digests(package).items() if digest != reached(kind).digest}


def test_every_kind_of_product_has_a_maker() -> None:
    assert MAKERS.keys() == KINDS


@pytest.mark.parametrize(
    ("file", "old", "new", "kinds"),
    [
        ("host/run.py", '"TZ": "UTC"', '"TZ": "Asia/Tokyo"', KINDS - {"frames"}),  # mtools writes local time
        ("fetch/signatures.py", "return made.stdout", 'return made.stdout + b"x"', {"imports"}),
        ("fs/ext4.py", "_JOURNAL = 64", "_JOURNAL = 32", {"golden", "guests"}),
        ("fs/mke2fs.conf", "[defaults]", "[defaults]\n\tblocksize = 1024", {"golden", "guests"}),
        ("bake/stage/all/usr/sbin/policy-rc.d", "exit 101", "exit 0", {"layers"}),
        ("host/sandbox/enter.sh", "set -eu", "set -u", {"accel", "layers"}),
        ("bake/inside.py", '"--no-triggers"', '"--triggers"', {"layers"}),  # a module that `python -m` is given
        ("bake/accel_tree.py", '"--sort=name"', '"--sort=none"', {"accel", "layers"}),
        ("limits.py", "SYMLINKS = ", "SYMLINKS = 1 + ", KINDS - {"accel", "frames"}),
        ("image/frames.py", '"zst": 9', '"zst": 8', {"frames"}),
        ("guest/airgap.py", "_LEAST = 40", "_LEAST = 50", {"k3s"}),
        ("model/identity.py", "https://pimu-build/", "https://pimu/", {"alpine", "golden", "guests", "k3s"}),
    ],
)
def test_code_that_shapes_a_product_makes_it_anew(
    package: Path, file: str, old: str, new: str, kinds: set[str]
) -> None:
    assert anew(package, file, old, new) == kinds


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("fs/ext4.py", '"""Bytes for a volume', '"""Octets for a volume'),  # a docstring
        ("fs/ext4.py", "# small files want inodes", "# many small files"),  # a comment
        ("fs/ext4.py", 'hint="rename the folder"', 'hint="rename it"'),  # an error's words
        ("model/sources.py", 'description="Address of the archive."', 'description="Its address."'),
        ("model/sources.py", 'examples=["http://deb.debian.org/debian"]', 'examples=["http://a.example/debian"]'),
        ("model/settings.py", ' = Field(description="Size of the partition.", examples=["512MiB"])', ""),
        ("model/settings.py", ' description="Word for setup-timezone that stands before the zone.",', ""),
        ("model/settings.py", "class NodeSettings(", "class Added:\n    pass\n\n\nclass NodeSettings("),
        ("plan/order.py", "\ndef ", "\ndef added() -> None: ...\n\n\ndef "),
        ("project/folder.py", "\ndef ", "\ndef added() -> None: ...\n\n\ndef "),
        ("cli/texts.py", "\ndef ", "\ndef added() -> None: ...\n\n\ndef "),
        ("fetch/transfer.py", "\ndef ", "\ndef added() -> None: ...\n\n\ndef "),
        ("host/files.py", "\ndef ", "\ndef added() -> None: ...\n\n\ndef "),  # a function that no maker calls
    ],
)
def test_what_shapes_no_product_makes_none_anew(package: Path, file: str, old: str, new: str) -> None:
    assert anew(package, file, old, new) == set()


def test_a_setting_of_a_node_makes_no_layer_anew(package: Path) -> None:
    kinds = anew(
        package, "model/settings.py", "class NodeSettings(Strict):", "class NodeSettings(Strict):\n    new: int"
    )
    assert kinds == set()


def test_a_file_that_is_added_to_a_folder_counts(package: Path) -> None:
    (package / "bake/stage/all/usr/bin/added").write_text("")
    assert {kind for kind, digest in digests(package).items() if digest != reached(kind).digest} == {"layers"}


def test_no_reached_module_reads_a_file_that_it_does_not_declare() -> None:
    """`__file__` is for Path(__file__).with_name("NAME"), and for the folder that PYTHONPATH names."""
    known = re.compile(r"Path\(__file__\)\.(with_name\('[\w.]+'\)|parents\[\d\])")
    reading = {name.rpartition(".")[0] for kind in KINDS for name in reached(kind).parts if name.startswith("builder.")}
    rest = {module: known.sub("", ast.unparse(tree)) for module, tree in trees() if module in reading}
    assert not [module for module, text in rest.items() if re.search(r"__file__|\bresources\b|get_data", text)]


def test_every_file_beside_the_makers_code_is_declared() -> None:
    declared = {Path(name) for kind in KINDS for name in reached(kind).parts if not name.startswith("builder.")}
    folders = ("bake", "base", "fetch", "fs", "guest", "host", "image", "lock", "machines", "store")
    beside = {
        path.relative_to(PACKAGE)
        for folder in folders
        for path in (PACKAGE / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert beside == declared


def test_every_module_that_runs_programs_declares_them() -> None:
    doors = {"run", "start", "output"}
    exempt = ("builder.boot", "builder.publish", "builder.verify", "builder.flash", "builder.doctor", "builder.lock")

    def rule() -> Iterator[str]:
        for module, tree in trees():
            if module.startswith(exempt) or module in ("builder.host.run", "builder.host.tools"):
                continue
            runs = any(
                isinstance(node, ast.ImportFrom)
                and node.module == "builder.host.run"
                and doors & {alias.name for alias in node.names}
                for node in ast.walk(tree)
            )
            declared = {
                word
                for node in tree.body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == DECLARATION
                for word in ast.literal_eval(node.value)
            }
            if bool(declared) != runs:
                yield f"{module}: {'runs programs and declares none' if runs else 'declares programs and runs none'}"
            yield from (f"{module}: {word} is in no table of host.tools" for word in declared - known_programs())
            called = {word for call in ast.walk(tree) if isinstance(call, ast.Call) for word in program(call, doors)}
            yield from (f"{module}: runs {word}, and does not declare it" for word in called - declared)

    assert not list(rule())


def program(call: ast.Call, doors: set[str]) -> set[str]:
    """The first word of `run(["program", ...])`."""
    if isinstance(call.func, ast.Name) and call.func.id in doors and call.args and isinstance(call.args[0], ast.List):
        match call.args[0].elts[0]:
            case ast.Constant(value=str(word)) | ast.Starred(value=ast.Tuple(elts=[ast.Constant(value=str(word)), *_])):
                return {word}
    return set()


def known_programs() -> set[str]:
    return {*tools.SHAPING, *tools.SIBLINGS, *tools.SHAPELESS}


def test_every_program_that_shapes_an_image_is_declared_by_a_maker() -> None:
    used = {program for kind in KINDS for program in reached(kind).programs}
    assert {tools.SIBLINGS.get(name, name) for name in used} - tools.SHAPELESS.keys() == tools.SHAPING.keys()
    assert {"mkfs.fat", "mcopy"} <= set(reached("k3s").programs)


def test_what_is_not_followed_is_there() -> None:
    modules = {module for module, _ in trees()}
    assert SEAM.keys() <= modules


def test_a_closure_is_remembered_until_a_file_of_it_changes(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = MAKERS["frames"]
    monkeypatch.setattr(closures, "_CODE", code := Code(package))
    closures._closure.cache_clear()
    first = maker.closure(tmp_path)
    closures._closure.cache_clear()
    monkeypatch.setattr(code, "closure", None)
    assert maker.closure(tmp_path) == first
    closures._closure.cache_clear()
    path = package / "image/frames.py"
    path.write_text(path.read_text().replace('"zst": 9', '"zst": 8'))
    with pytest.raises(TypeError):  # it is asked again
        maker.closure(tmp_path)
    closures._closure.cache_clear()
    monkeypatch.setattr(closures, "_CODE", Code(package))
    assert maker.closure(tmp_path).digest != first.digest
    closures._closure.cache_clear()


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"%s": 1}', '{"%s": {"text": "{}", "sha256": "0"}}'])
def test_a_file_that_the_disk_has_changed_is_made_anew(tmp_path: Path, kept: str) -> None:
    maker = MAKERS["frames"]
    file = tmp_path / KEPT
    file.write_text(kept.replace("%s", f"{maker.module}.{maker.function}"))
    closures._closure.cache_clear()
    assert maker.closure(tmp_path).digest == reached("frames").digest
    closures._closure.cache_clear()
    whole = file.read_text()
    file.write_text(whole.replace("builder.image.frames._LEVEL", "builder.image.frames._LEVER"))
    assert maker.closure(tmp_path).parts == reached("frames").parts
    assert file.read_text() == whole


def test_there_is_no_closure_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"builder.fs.ext4.no_such"):
        closure("builder.fs.ext4", "no_such", tmp_path)
    with pytest.raises(KeyError, match=r"builder.no_such"):
        Maker("x", "builder.no_such", "make").closure(tmp_path)


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    return tuple(
        (
            ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"),
            ast.parse(path.read_text()),
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    )
