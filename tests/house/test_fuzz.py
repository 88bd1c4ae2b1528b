"""Any input gives a value or one of the project's errors: no traceback, no endless loop."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from builder.base.archives import image_sources
from builder.base.partitions import require_layout
from builder.fetch.signatures import dearmored
from builder.fetch.unpacking import unpack
from builder.fs import fat
from builder.fs.tree import Entry, Tree
from builder.host.run import run
from builder.model.lock import Lock, Resolution, from_text, to_text
from builder.model.manifest import Manifest
from builder.model.patches import GroupMember, KernelWords, Line, NamedBlock, Patch, Record, Substitute
from builder.model.progress import Silent
from builder.plan import make_plan
from builder.profile import parse
from builder.project import Project
from builder.template.strict import render
from tests.fuzzing import EFFORTS, damaged, hold, words
from tests.lock.test_lock import deb
from tests.tiny_image import BOOT_START, make_image, manifest_of, partition, tiny_base

MIB = 1 << 20

# Text ----------------------------------------------------------------------------------------------------------------

YAML = words(
    *(
        "a",
        "b: ",
        "c:",
        "\n",
        "\n  ",
        "\n- ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&x ",
        "*x",
        "!!int ",
        "<<: *x",
        "? ",
        "|\n",
    ),
    *(
        ">",
        '"',
        "'",
        "\\x",
        "\\",
        "\t",
        "#",
        "---",
        "...",
        "%YAML 9.9\n",
        "~",
        "null",
        "true",
        "no",
        "012",
        "0x1f",
        "1_0",
    ),
    *("52:54:00:12:34:56", "190:20:30", "1e999", "9" * 30, "\ufeff", "\x85", "\0", "\ud800", "=", "2026-11-26"),
)
PLAIN = (dict, list, str, int, bool, type(None))


def all_values(value: object) -> list[object]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *itertools.chain.from_iterable(map(all_values, inner))]


@EFFORTS
def test_yaml_becomes_plain_data_with_its_lines(effort: int) -> None:
    def reads(text: str) -> None:
        document = parse(text, "x.yaml")
        assert all(type(value) in PLAIN for value in all_values(document.data))
        breaks = sum(map(text.count, "\n\r\x85\u2028\u2029"))  # those of YAML 1.1
        assert all(1 <= mark.line <= breaks + 1 for mark in document.origins.marks.values())

    hold(effort, 100, YAML, reads)
    hold(effort, 4, st.sampled_from("[{-?"), lambda mark: parse(mark * 60_000, "x.yaml"))


PROFILES = ("cluster.yaml", "bases/debian-trixie.yaml", "bases/raspios-trixie.yaml", "roles/worker.yaml")
VALUES = (
    "",
    "~",
    "true",
    "-1",
    "0",
    "9" * 17,
    "[]",
    "{}",
    "[~]",
    "{a: b}",
    "x",
    "16EiB",
    "1.5",
    "'\\0'",
    '"\\ud800"',
    "é",
)


@EFFORTS
@pytest.mark.parametrize("name", PROFILES)
def test_a_changed_line_of_a_profile_is_planned_or_told(effort: int, name: str, project_folder: Path) -> None:
    file = project_folder / "profiles" / name
    lines = file.read_text().splitlines()
    base = "raspios-trixie" if "raspios" in name else "debian-trixie"

    def is_planned(change: tuple[int, str, str]) -> None:
        at, how, value = change
        key, colon, _ = lines[at].partition(":")
        new = {"gone": [], "twice": [lines[at]] * 2, "deeper": [f"  {lines[at]}"], "value": [f"{key}{colon} {value}"]}
        file.write_text("\n".join([*lines[:at], *new[how], *lines[at + 1 :]]))
        project = Project(project_folder)
        make_plan(project.settings("node-003", "worker", base), project.overlays, project.seed, render=render)

    how = st.sampled_from(("gone", "twice", "deeper", "value", "value", "value"))
    hold(effort, 8, st.tuples(st.integers(0, len(lines) - 1), how, st.sampled_from(VALUES)), is_planned)


@EFFORTS
def test_a_lock_is_read_or_told(effort: int) -> None:
    whole = to_text(Lock({"x": Resolution("{}", 7, (deb("zstd"), deb("dpkg")), ("dpkg",))}, {}, {"tar": ("1.34",)}))

    def is_read(content: bytes) -> None:
        lock = from_text(content.decode("utf-8", "surrogateescape"), "pimu.lock")
        assert from_text(to_text(lock), "pimu.lock") == lock

    hold(effort, 60, damaged(whole.encode()), is_read)
    hold(
        effort, 40, words(*whole.replace("\n", " ").split(" "), "NaN", "Infinity", "-1", "[" * 2000, "\\ud800"), is_text
    )


def is_text(text: str) -> None:
    from_text(text, "pimu.lock")


@EFFORTS
@pytest.mark.disk
def test_a_manifest_is_read_or_told(effort: int, tmp_path: Path) -> None:
    whole = manifest_of(tiny(tmp_path)).to_json()
    hold(
        effort, 40, damaged(whole.encode()), lambda content: Manifest.from_json(content.decode("utf-8", "replace"), "x")
    )


SOURCES = words(
    *(
        "deb ",
        "deb-src ",
        "[",
        "]",
        "signed-by=",
        "/k.gpg",
        " ",
        "\t",
        "\n",
        "\n\n",
        "\n ",
        "#",
        "http://x/debian ",
        "file:/ ",
    ),
    *(
        "stable",
        " main",
        "./",
        "Types: ",
        "URIs: ",
        "Suites: ",
        "Components: ",
        "Signed-By: ",
        "Enabled: no",
        "\r",
        "\x1c",
    ),
    *("/../k.gpg", "-----BEGIN PGP PUBLIC KEY BLOCK-----", "arch=arm64", "%s", "{}"),
)


@EFFORTS
def test_an_images_sources_are_understood_or_told(effort: int, tmp_path: Path) -> None:
    def is_understood(texts: tuple[str, str, str]) -> None:
        tree = Tree(0)
        for path, text in zip(
            ("etc/apt/sources.list", "etc/apt/sources.list.d/x.sources", "etc/x"), texts, strict=True
        ):
            tree.entries[path] = Entry.of_bytes(text.encode("utf-8", "surrogatepass"), 0)
        tree.entries["k.gpg"] = tree.entries["etc/apt/trusted.gpg.d/k.gpg"] = Entry.of_bytes(b"KEY", 0)
        tree.entries["loop"] = Entry("link", 0o777, target="loop/x")
        for source in image_sources(tree, tmp_path):
            assert (tmp_path / source.keyring).read_bytes()
            assert source.uri.startswith("http")

    hold(effort, 100, st.tuples(SOURCES, SOURCES, SOURCES), is_understood)
    endless = st.sampled_from(("\n", " \n", "deb ", "deb [", "a:", "Types: deb\n ", "deb x y\t"))
    hold(effort, 7, endless, lambda text: is_understood((text * 20_000, text * 20_000, "")))


PATCHES: tuple[Patch, ...] = (
    NamedBlock("x", ("a", "b")),
    Record(("root", "x", "0", "0", "root", "/root", "/bin/sh")),
    Record(("gpio", "x", "986", "")),
    GroupMember("gpio", "pimu"),
    KernelWords(("quiet",), (r"init=\S*", "resize")),
    Substitute("^#?x=.*$", "x=1", optional=True),
    Line("first", first=True),
    Line("last"),
)


@EFFORTS
def test_a_patch_done_twice_is_done_once(effort: int) -> None:
    text = words(
        *(
            "# BEGIN pimu x\n",
            "# END pimu x\n",
            "root",
            ":",
            "x",
            "0",
            "gpio",
            ",",
            "\n",
            " ",
            "init=",
            "resize",
            "#x=",
            "\x85",
        ),
        *("\r", "\x0b", "\u2028", "last", "first", "quiet"),
    )

    def is_idempotent(case: tuple[Patch, str]) -> None:
        patch, before = case
        once = patch.apply(before)
        assert patch.apply(once) == once

    hold(effort, 150, st.tuples(st.sampled_from(PATCHES), text), is_idempotent)


# Disks and archives ---------------------------------------------------------------------------------------------------


def tiny(folder: Path) -> Path:
    make_image(folder / "tiny.img")
    return folder / "tiny.img"


@EFFORTS
@pytest.mark.disk
def test_a_partition_table_is_taken_or_told(effort: int, tmp_path: Path) -> None:
    image, base = tmp_path / "image", tiny_base()
    partition(image, "start=2048, size=8192, type=c", "start=10240, size=36864, type=83")
    head = image.read_bytes()[: 2 * MIB]
    row = st.tuples(
        st.sampled_from((0, 0x0C, 0x83, 5, 0xEE)), *[st.sampled_from((0, 1, 2048, 8192, 10240, 2**32 - 1))] * 2
    )

    def is_taken(case: tuple[list[tuple[int, int, int]], bytes]) -> None:
        rows, start = case
        table = b"".join(struct.pack("<4xB3xII", *one) for one in rows)
        with image.open("r+b") as file:
            file.write(start[:446].ljust(446, b"\0") + (table or start[446:510]).ljust(64, b"\0") + b"\x55\xaa")
        require_layout(image, base, "URL")

    whole = damaged(head[:512])
    hold(effort, 40, st.tuples(st.lists(row, max_size=4), whole), is_taken)


@EFFORTS
@pytest.mark.disk
def test_a_fat_is_read_or_told(effort: int, tmp_path: Path) -> None:
    whole = tiny(tmp_path).read_bytes()
    start, image = whole[BOOT_START : BOOT_START + 64 * 1024], tmp_path / "damaged.img"
    shutil.copy(tmp_path / "tiny.img", image)

    def is_read(content: bytes) -> None:
        with image.open("r+b") as file:
            file.seek(BOOT_START)
            file.write(content.ljust(len(start), b"\0")[: len(start)])
        for first, end in fat.content_extents(image, BOOT_START, ["config.txt", "cmdline.txt"]):
            assert 0 <= first <= end
        fat.read_file(image, BOOT_START, "config.txt")

    hold(effort, 15, st.one_of(damaged(start[:512]), damaged(start)), is_read)
    hold(effort, 5, st.integers(BOOT_START, BOOT_START + 600), lambda size: short(image, whole[:size]))


def short(image: Path, content: bytes) -> None:
    image.write_bytes(content)
    fat.content_extents(image, BOOT_START, ["config.txt"])


RAW = bytes(range(256)) * 64 + bytes(MIB)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.img", RAW)
    return out.getvalue()


PACKERS: dict[str, Callable[[], bytes]] = {
    "xz": lambda: lzma.compress(RAW),
    "zst": lambda: run(["zstd", "-c"], input=RAW).stdout,
    "gz": lambda: gzip.compress(RAW, mtime=0),
    "zip": zipped,
    "img": lambda: RAW,
}


@EFFORTS
@pytest.mark.disk
@pytest.mark.parametrize("kind", PACKERS)
def test_a_published_file_is_unpacked_or_told(effort: int, kind: str, tmp_path: Path) -> None:
    packed, image = tmp_path / "packed", tmp_path / "raw.img"

    def is_unpacked(content: bytes) -> None:
        packed.write_bytes(content)
        image.unlink(missing_ok=True)
        unpack(packed, image, size=len(RAW), sha256=None, where="URL", progress=Silent())
        assert image.stat().st_size == len(RAW)

    hold(effort, 20, damaged(PACKERS[kind]()), is_unpacked)


@EFFORTS
@pytest.mark.disk
def test_a_key_is_read_or_told(effort: int) -> None:
    armor = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    hold(effort, 10, st.one_of(damaged(armor), st.binary()), lambda key: dearmored(key, "URL"))


# Layers ---------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(("a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq", "\udcff"))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ANY_NAME = st.one_of(PATHS, words("a", "/", ".", "..", "./", "\0", "\n", ".wh.", ".wh..wh..opq", "x" * 300, max_size=6))
KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
ODD_FIELDS = (
    "size",
    "uid",
    "mtime",
    "path",
    "linkpath",
    "GNU.sparse.map",
    "GNU.sparse.size",
    "SCHILY.xattr.x",
    "hdrcharset",
)
ODD_VALUES = ("-1", "nan", "inf", "1e400", "9" * 40, "", "x", "0,1,2", "../..", "BINARY", "0x10", " 7")


def tar_of(path: Path, members: list[tuple[str, bytes, str, dict[str, str]]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, target, pax in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.pax_headers = kind, target, pax
            content = name.encode("utf-8", "surrogateescape") if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read_all(tree: Tree, out: Path) -> None:
    """Read all of a tree: its content can be written and read again, and nothing of it lies elsewhere."""
    assert not any(part in ("", ".", "..") for path in tree.entries if path for part in path.split("/"))
    tree.write_tar(out)
    assert Tree.of_layers([out], tree.epoch).index() == tree.index()


@EFFORTS
def test_any_members_are_a_tree_or_told(effort: int, tmp_path: Path) -> None:
    pax = st.dictionaries(st.sampled_from(ODD_FIELDS), st.sampled_from(ODD_VALUES), max_size=2)
    member = st.tuples(ANY_NAME.filter(lambda name: "\ud800" not in name), st.sampled_from(KINDS), PATHS, pax)

    def is_a_tree(members: list[tuple[str, bytes, str, dict[str, str]]]) -> None:
        archive = tar_of(tmp_path / "x.tar", [(encodable(name), *rest) for name, *rest in members])  # type: ignore[misc]
        read_all(Tree.of_layers([archive], 0), tmp_path / "out.tar")
        read_all(Tree.of_volume(archive, 0), tmp_path / "out.tar")

    hold(effort, 120, st.lists(member, max_size=6), is_a_tree)


def encodable(name: str) -> str:
    return name.encode("utf-8", "replace").decode() if any("\ud800" <= c < "\udc80" for c in name) else name


@EFFORTS
def test_a_damaged_layer_is_a_tree_or_told(effort: int, tmp_path: Path) -> None:
    members = [("a", tarfile.DIRTYPE, "", {}), ("a/b", tarfile.REGTYPE, "", {"SCHILY.xattr.security.capability": "x"})]
    members += [
        ("a/l", tarfile.SYMTYPE, "../b", {}),
        ("h", tarfile.LNKTYPE, "a/b", {}),
        ("x" * 200, tarfile.REGTYPE, "", {}),
    ]
    whole = tar_of(tmp_path / "whole.tar", members).read_bytes()[:-8192]
    archive = tmp_path / "x.tar"

    def is_a_tree(content: bytes) -> None:
        archive.write_bytes(with_checksums(content))
        read_all(Tree.of_layers([archive], 0), tmp_path / "out.tar")

    hold(effort, 100, damaged(whole, 512), is_a_tree)
    hold(effort, 20, st.binary(max_size=2000), is_a_tree)
    # Headers that announce a longer name, one behind the other, are read by recursion.
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 1
    archive.write_bytes((long_name.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 3000)
    hold(effort, 1, st.just(archive.read_bytes()), is_a_tree)


def with_checksums(content: bytes) -> bytes:
    """Every block that was a header is one again: what is behind the checksum is what is tried."""
    blocks = bytearray(content)
    for at in range(0, len(blocks) - 511, 512):
        if blocks[at + 257 : at + 262] == b"ustar":
            total = sum(blocks[at : at + 148]) + 8 * 32 + sum(blocks[at + 156 : at + 512])
            blocks[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(blocks)


Layer = dict[str, bytes]
Folder = dict[str, Any]


def naive_merge(layers: list[Layer]) -> Folder:
    """The sum of the layers, by OCI's image-layer specification: folders are dicts, files the layer's number."""
    root: Folder = {}
    for number, layer in enumerate(layers):
        for path in layer:
            *folders, name = path.split("/")
            here: Any = root
            for folder in folders:
                here = here.get(folder) if isinstance(here, dict) else None
            if isinstance(here, dict) and name == ".wh..wh..opq":
                here.clear()
            elif isinstance(here, dict) and name.startswith(".wh."):
                here.pop(name[4:], None)
        for path, kind in layer.items():
            *folders, name = path.split("/")
            if name.startswith(".wh."):
                continue
            here = root
            for folder in folders:
                here = here[folder]
            here[name] = (
                (here.get(name) if isinstance(here.get(name), dict) else {}) if kind == tarfile.DIRTYPE else number
            )
    return root


@st.composite
def layer_strategy(draw: st.DrawFn) -> Layer:
    """Folders are named before what is in them; nothing is in a file; whiteouts anywhere."""
    layer: Layer = {}
    for path in draw(st.lists(PATHS, max_size=8)):
        parts = path.split("/")
        if any(part.startswith(".wh.") for part in parts[:-1]):
            continue
        folders = list(itertools.accumulate(parts[:-1], lambda a, b: f"{a}/{b}"))
        if all(layer.get(folder, tarfile.DIRTYPE) == tarfile.DIRTYPE for folder in folders) and path not in layer:
            layer |= dict.fromkeys((folder for folder in folders if folder not in layer), tarfile.DIRTYPE)
            is_dir = draw(st.booleans()) and not parts[-1].startswith(".wh.")
            layer[path] = tarfile.DIRTYPE if is_dir else tarfile.REGTYPE
    return layer


@EFFORTS
def test_layers_are_merged_as_a_naive_reader_would(effort: int, tmp_path: Path) -> None:
    def is_the_same(case: tuple[list[Layer], Any]) -> None:
        layers, shuffle = case
        archives = []
        for number, layer in enumerate(layers):
            # Whiteouts may stand anywhere in a layer.
            whiteouts = [path for path in layer if path.rpartition("/")[2].startswith(".wh.")]
            members = [path for path in layer if path not in whiteouts]
            order = [*whiteouts, *members] if shuffle else [*members, *whiteouts]
            archives.append(tar_of(tmp_path / f"{number}.tar", [(path, layer[path], "", {}) for path in order]))
        tree = Tree.of_layers(archives, 0)
        made: Folder = {}
        for path, entry in tree.sorted():
            *folders, name = path.split("/")
            here = made
            for folder in folders:
                here = here[folder]
            here[name] = {} if entry.kind == "dir" else entry.read()
        assert made == contents(naive_merge(layers), "")

    hold(effort, 80, st.tuples(st.lists(layer_strategy(), max_size=4), st.booleans()), is_the_same)


def contents(folder: Folder, prefix: str) -> Folder:
    """A file of any layer holds its own path."""
    return {
        name: contents(what, f"{prefix}{name}/")
        if isinstance(what, dict)
        else f"{prefix}{name}".encode("utf-8", "surrogateescape")
        for name, what in folder.items()
    }
