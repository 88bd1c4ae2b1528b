"""A tree is what its layers say, its links never lead out of it, an edit does one thing, its tar has one spelling."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError, ConfigurationError
from builder.fs.tree import Entry, Tree
from builder.model.edits import Edit, MakeDir, PatchText, PlaceBlob, Remove, SetMode, Symlink, WriteFile
from builder.model.patches import Line, Record, SecretRef

EPOCH = 1_700_000_000
CAPABILITY = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
ASKED: dict[str, Any] = {
    "volume": "root",
    "scope": "golden",
    "feature": "trim",
    "origin": "profiles/roles/worker.yaml:3",
}


Members = list[tuple[str, bytes | str | None]]


def layer(path: Path, *members: tuple[str, bytes | str | None], xattrs: dict[str, str] | None = None) -> Path:
    """A layer tar of files (bytes), symlinks (`-> target`), hard links (`== target`) and directories (None)."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid, info.mtime = 0o640, 1, 2, EPOCH - 5
            match what:
                case None:
                    info.type = tarfile.DIRTYPE
                case str():
                    info.type = tarfile.SYMTYPE if what.startswith("-> ") else tarfile.LNKTYPE
                    info.linkname = what[3:]
                case bytes():
                    info.size, info.pax_headers = len(what), xattrs or {}
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return path


def tree_of(tmp_path: Path, *layers: Members) -> Tree:
    paths = [layer(tmp_path / f"{number}.tar", *members) for number, members in enumerate(layers)]
    return Tree.of_layers(paths, EPOCH)


def etc() -> Tree:
    """/etc/motd, /etc/rc -> motd, and /bin -> usr/bin."""
    tree = Tree(EPOCH)
    for path in ("etc", "usr", "usr/bin"):
        tree.entries[path] = Entry("dir", 0o755)
    tree.entries["etc/motd"] = Entry.of_bytes(b"hello\n", EPOCH, 0o640, 5, 6)
    tree.entries["etc/rc"] = Entry("link", 0o777, target="motd")
    tree.entries["bin"] = Entry("link", 0o777, target="usr/bin")
    return tree


def content(tree: Tree, path: str) -> bytes:
    entry = tree.get(path)
    assert entry is not None, f"there is no {path}"
    return entry.read()


# Layers ---------------------------------------------------------------------------------------------------------------


def test_the_upper_layer_wins_and_whiteouts_remove(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [("etc", None), ("etc/a", b"old"), ("etc/b", b"b"), ("srv", None), ("srv/x", b"x"), ("srv2", None)],
        [("etc/.wh.b", b""), (".wh.srv", b""), ("etc/a", b"new"), ("etc/c", b"c")],
    )
    assert sorted(tree.entries) == ["", "etc", "etc/a", "etc/c", "srv2"]
    assert content(tree, "/etc/a") == b"new"


def test_what_replaces_a_directory_takes_its_contents_away(tmp_path: Path) -> None:
    lower: Members = [(folder, None) for folder in ("a", "a/deep", "b", "b/deep", "c", "c/deep", "d")]
    tree = tree_of(tmp_path, lower, [("a", b"file"), ("b", "-> a"), ("c", "== a"), ("d", None)])
    assert {path: entry.kind for path, entry in tree.sorted()} == {"a": "file", "b": "link", "c": "file", "d": "dir"}


def test_a_directory_that_comes_again_keeps_its_contents(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [("etc", None), ("etc/a", b"a")], [("etc", None)])
    assert content(tree, "etc/a") == b"a"


def test_a_directory_replaces_a_link(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [("etc", None), ("lib", "-> etc")], [("lib", None), ("lib/x", b"x")])
    assert [path for path, _ in tree.sorted()] == ["etc", "lib", "lib/x"]


def test_owner_mode_time_and_links_come_from_the_layer(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [("./a", b"text"), ("b", "== ./a"), ("c", "-> /no/where")])
    a, c = tree.entries["a"], tree.entries["c"]
    assert (a.mode, a.uid, a.gid, a.mtime, a.size) == (0o640, 1, 2, EPOCH - 5, 4)
    assert tree.entries["b"] is a
    assert c.target == "/no/where"


def test_contents_are_read_in_part_and_again(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [("a", b"first"), ("b", b"second")])
    with tree.entries["a"].content() as file:
        assert [file.read(3), file.read(100), file.read(1)] == [b"fir", b"st", b""]
    assert content(tree, "a") == b"first"


def test_a_layers_whiteouts_are_about_those_below_it_wherever_they_stand(tmp_path: Path) -> None:
    lower: Members = [("etc", None), ("etc/a", b"old"), ("etc/b", b"b"), ("opt", None), ("opt/x", b"x")]
    upper: Members = [("etc", None), ("etc/c", b"new"), ("etc/.wh..wh..opq", b""), ("opt", None), (".wh.opt", b"")]
    for members in (upper, upper[::-1]):
        tree = tree_of(tmp_path, lower, members)
        assert sorted(tree.entries) == ["", "etc", "etc/c", "opt"]


def header(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (header("../etc/passwd"), "'../etc/passwd' is not a name for a file of the Pi"),
        (header("etc/../../x"), "'etc/../../x' is not a name for a file of the Pi"),
        (header("/etc/x"), "'/etc/x' is not a name for a file of the Pi"),
        (header(".//x"), "'.//x' is not a name for a file of the Pi"),
        (header("etc/./x"), "'etc/./x' is not a name for a file of the Pi"),
        (header("two\nlines"), "'two\\nlines' is not a name for a file of the Pi"),
        (header("x" * 256), f"'{'x' * 256}' is not a name for a file of the Pi"),
        (header("nul", pax_headers={"path": "a\0b"}), "'a\\x00b' is not a name for a file of the Pi"),
        (header("a"), "a is there twice"),
        (header("./a", type=tarfile.DIRTYPE), "a is there twice"),
        (header("null", type=tarfile.CHRTYPE), "null is neither file, directory nor link"),
        (header("sda", type=tarfile.BLKTYPE), "sda is neither file, directory nor link"),
        (header("pipe", type=tarfile.FIFOTYPE), "pipe is neither file, directory nor link"),
        (header("h", type=tarfile.LNKTYPE, linkname="../../etc/shadow"), "h is a hard link to '../../etc/shadow'"),
        (header("h", type=tarfile.LNKTYPE, linkname="/etc/shadow"), "h is a hard link to '/etc/shadow'"),
        (header("h", type=tarfile.LNKTYPE, linkname="z"), "h is a hard link to z, no file before it"),
        (header("h", type=tarfile.LNKTYPE, linkname="d"), "h is a hard link to d, no file before it"),
        (header("s", type=tarfile.SYMTYPE), "s is a link to ''"),
        (header("a/b"), "a/b is in /a, which is no directory"),
        (header("l/b"), "l/b is in /l, which is no directory"),
        (header("b", uid=2**32), f"b belongs to {2**32}:0"),
        (header("b", mtime=2**40), f"b was changed at {2**40}.0"),
        (header("b", pax_headers={"mtime": "nan"}), "b was changed at nan"),
        (header("b", size=1 << 20), "b has 1048576 bytes, more than there are"),
        (header("b", pax_headers={"size": "-5"}), "is not a whole tar: a negative size"),
        (header(".wh."), ".wh. is a whiteout of nothing"),
        (header(".wh..."), ".wh... is a whiteout of nothing"),
    ],
    ids=lambda value: value.name[:20].replace("\n", "-") if isinstance(value, tarfile.TarInfo) else "",
)
def test_what_no_system_has_is_refused(tmp_path: Path, member: tarfile.TarInfo, said: str) -> None:
    with tarfile.open(tmp_path / "l.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for other in (header("a"), header("d", type=tarfile.DIRTYPE), header("l", type=tarfile.SYMTYPE, linkname="d")):
            tar.addfile(other)
        tar.addfile(member)
    with pytest.raises(BuildError) as caught:
        Tree.of_layers([tmp_path / "l.tar"], EPOCH)
    assert (caught.value.where, caught.value.message) == (str(tmp_path / "l.tar"), said)


def test_only_files_have_a_size_and_only_links_a_target(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "l.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(header("d", type=tarfile.DIRTYPE, linkname="x", pax_headers={"size": "-1"}))
        tar.addfile(header("f", linkname="x"))
    assert [row[5:] for row in Tree.of_layers([tmp_path / "l.tar"], EPOCH).index()] == [[0, ""], [0, ""]]


@pytest.mark.parametrize("cut", [0, 100, 1024, 1500, 1536])
def test_a_tar_that_is_cut_off_is_told(tmp_path: Path, cut: int) -> None:
    whole = layer(tmp_path / "l.tar", ("a", b"text"), ("b", None)).read_bytes()
    (tmp_path / "l.tar").write_bytes(whole[:cut])
    with pytest.raises(BuildError, match="is not a whole tar"):
        Tree.of_layers([tmp_path / "l.tar"], EPOCH)


def test_rubbish_between_members_is_not_the_end(tmp_path: Path) -> None:
    whole = bytearray(layer(tmp_path / "l.tar", ("a", b""), ("b", None), ("c", None)).read_bytes())
    whole[512 + 148] ^= 1  # of the checksum of b
    (tmp_path / "l.tar").write_bytes(whole)
    with pytest.raises(BuildError, match="is not a whole tar: it does not go on at 512"):
        Tree.of_layers([tmp_path / "l.tar"], EPOCH)


def test_a_volume_is_whole_and_has_no_whiteouts(tmp_path: Path) -> None:
    for name, said in ((".wh.etc", "'.wh.etc' is not a name for"), ("no/where", "no/where is in no directory")):
        archive = layer(tmp_path / "v.tar", ("etc", None), (name, b""))
        with pytest.raises(BuildError, match=said):
            Tree.of_volume(archive, EPOCH)
        assert list(Tree.of_volume(archive, EPOCH, skip=lambda path: path != "etc").entries) == ["", "etc"]


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/etc/motd", "etc/motd"),
        ("etc//./motd", "etc/motd"),
        ("/etc/link", "etc/link"),
        ("/abs/x", "usr/x"),
        ("/etc/link/x", "usr/bin/x"),
        ("/chain/x", "usr/bin/x"),
        ("/out/etc/shadow", "etc/shadow"),
        ("/../../etc/motd", "etc/motd"),
        ("/dangling/x", "not/there/x"),
    ],
)
def test_links_are_followed_inside_the_tree_only(path: str, resolved: str) -> None:
    tree = etc()
    targets = {
        "abs": "/usr",
        "etc/link": "../usr/bin",
        "chain": "etc/link",
        "out": "../../../..",
        "dangling": "/not/there",
    }
    for name, target in targets.items():
        tree.entries[name] = Entry("link", 0o777, target=target)
    assert tree.resolve(path) == resolved


def test_a_loop_of_links_is_an_error() -> None:
    tree = Tree(EPOCH)
    tree.entries |= {"a": Entry("link", 0o777, target="b"), "b": Entry("link", 0o777, target="/a")}
    with pytest.raises(BuildError, match=r"/a/x: too many levels of symbolic links"):
        tree.resolve("/a/x")


# Edits ----------------------------------------------------------------------------------------------------------------


def test_write_makes_the_parents_and_replaces_a_link_not_its_target() -> None:
    tree = etc()
    tree.apply(WriteFile(path="/opt/a/b", content=b"new", mode=0o600, uid=7, gid=8, **ASKED), {})
    tree.apply(WriteFile(path="/etc/rc", content=b"rc", **ASKED), {})
    entry = tree.entries["opt/a/b"]
    assert (entry.read(), entry.mode, entry.uid, entry.gid, entry.mtime) == (b"new", 0o600, 7, 8, EPOCH)
    assert [tree.entries[path].kind for path in ("opt", "opt/a", "etc/rc")] == ["dir", "dir", "file"]
    assert content(tree, "etc/motd") == b"hello\n"


def test_an_edit_goes_through_the_links_of_its_parents() -> None:
    tree = etc()
    assert tree.apply(WriteFile(path="/bin/tool", content=b"", **ASKED), {}) == "usr/bin/tool"
    assert "bin/tool" not in tree.entries


def test_a_blob_is_placed_by_reference(tmp_path: Path) -> None:
    blob = tmp_path / "disk.qcow2"
    blob.write_bytes(b"qcow2")
    tree = etc()
    tree.apply(PlaceBlob(path="/d", blob="guest-disk", mode=0o640, gid=900, **ASKED), {"guest-disk": blob})
    entry = tree.entries["d"]
    assert (entry.read(), entry.size, entry.mode, entry.gid) == (b"qcow2", 5, 0o640, 900)


def test_directories_links_modes_and_removal() -> None:
    tree = etc()
    edits: list[Edit] = [
        MakeDir(path="/srv/x", mode=0o750, uid=900, gid=901, **ASKED),
        MakeDir(path="/etc", mode=0o700, **ASKED),
        Symlink(path="/etc/new", target="../gone", **ASKED),
        Symlink(path="/etc/rc", target="other", **ASKED),
        SetMode(path="/etc/motd", mode=0o4755, uid=1, gid=2, **ASKED),
        SetMode(path="/usr", mode=0o711, **ASKED),
        Remove(path="/bin", **ASKED),
        Remove(path="/not/there", **ASKED),
    ]
    for edit in edits:
        tree.apply(edit, {})
    assert tree.index() == [
        ["etc", "dir", 0o700, 0, 0, 0, ""],
        ["etc/motd", "file", 0o4755, 1, 2, 6, ""],
        ["etc/new", "link", 0o777, 0, 0, 0, "../gone"],
        ["etc/rc", "link", 0o777, 0, 0, 0, "other"],
        ["srv", "dir", 0o755, 0, 0, 0, ""],
        ["srv/x", "dir", 0o750, 900, 901, 0, ""],
        ["usr", "dir", 0o711, 0, 0, 0, ""],
        ["usr/bin", "dir", 0o755, 0, 0, 0, ""],
    ]
    assert content(tree, "etc/motd") == b"hello\n"


def test_a_patch_keeps_mode_and_owner_and_bytes_that_are_not_text() -> None:
    tree = etc()
    tree.entries["etc/motd"] = Entry.of_bytes(b"caf\xe9\n", EPOCH, 0o640, 5, 6)
    tree.apply(PatchText(path="/etc/motd", patch=Line("last"), **ASKED), {})
    entry = tree.entries["etc/motd"]
    assert (entry.read(), entry.mode, entry.uid, entry.gid) == (b"caf\xe9\nlast\n", 0o640, 5, 6)


def test_a_secret_is_read_only_where_one_may_be() -> None:
    patch = Record(("root", SecretRef("env:HASH")))
    edit = PatchText(path="/etc/motd", patch=patch, **ASKED)
    with pytest.raises(ConfigurationError, match="env:HASH is a secret"):
        etc().apply(edit, {})
    tree = etc()
    tree.apply(edit, {}, secrets=lambda secret: f"value of {secret.reference}")
    assert b"root:value of env:HASH\n" in content(tree, "etc/motd")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (WriteFile(path="/etc", content=b"", **ASKED), "is a directory"),
        (Symlink(path="/usr/bin", target="x", **ASKED), "is a directory"),
        (Remove(path="/etc", **ASKED), "is a directory"),
        (MakeDir(path="/etc/motd", **ASKED), "is not a directory"),
        (MakeDir(path="/bin", **ASKED), "is not a directory"),
        (SetMode(path="/etc/none", mode=0o600, **ASKED), "the base has no such file"),
        (PatchText(path="/etc/none", patch=Line("x"), **ASKED), "the base has no such file"),
        (PatchText(path="/etc/rc", patch=Line("x"), **ASKED), "the base has no such file"),
        (WriteFile(path="/etc/motd/x", content=b"", **ASKED), "/etc/motd is not a directory"),
    ],
    ids=lambda value: value.describe() if isinstance(value, Edit) else "",
)
def test_an_impossible_edit_is_an_error_of_who_asked_and_changes_nothing(edit: Edit, reason: str) -> None:
    tree = etc()
    before = tree.index()
    with pytest.raises(ConfigurationError) as caught:
        tree.apply(edit, {})
    assert str(caught.value) == (
        f"profiles/roles/worker.yaml:3: cannot {edit.describe()}: {reason}\n  asked for by the feature trim"
    )
    assert tree.index() == before


def test_missing_parents_are_those_that_an_edit_makes() -> None:
    tree = etc()
    assert tree.missing_parents("/bin/x/y/z") == ["usr/bin/x", "usr/bin/x/y"]
    assert tree.missing_parents("/etc/x") == []


# Tars and tables ------------------------------------------------------------------------------------------------------


def test_the_tar_is_sorted_and_the_same_however_the_tree_was_made(tmp_path: Path) -> None:
    members: Members = [("a", None), ("a/b", b"1"), ("a.b", b"2"), ("a/\udcff", b"3")]
    for number, order in enumerate([members, [members[0], *reversed(members[1:])]]):
        tree_of(tmp_path, order).write_tar(tmp_path / f"{number}.out")
    assert (tmp_path / "0.out").read_bytes() == (tmp_path / "1.out").read_bytes()
    with tarfile.open(tmp_path / "0.out") as tar:
        assert tar.getnames() == ["a", "a/b", "a/\udcff", "a.b"]


def test_a_layer_survives_the_tar(tmp_path: Path) -> None:
    capability = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
    source = layer(tmp_path / "l.tar", ("ping", b"elf"), ("twin", "== ping"), ("l", "-> /x y"), ("d", None))
    first = Tree.of_layers([layer(tmp_path / "x.tar", ("cap", b"elf"), xattrs=capability), source], EPOCH)
    first.write_tar(tmp_path / "out.tar")
    again = Tree.of_layers([tmp_path / "out.tar"], EPOCH)
    assert again.index() == first.index()
    assert again.entries["twin"] is again.entries["ping"]
    assert again.entries["cap"].xattrs == capability
    assert again.entries["ping"].read() == b"elf"


def test_a_tree_of_an_index_reads_when_asked() -> None:
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return b"from the image\n"

    tree = Tree.of_index(etc().index(), EPOCH, read)
    assert tree.index() == etc().index()
    assert asked == []
    tree.apply(PatchText(path="/etc/motd", patch=Line("more"), **ASKED), {})
    assert asked == ["etc/motd"]
    assert content(tree, "etc/motd") == b"from the image\nmore\n"
