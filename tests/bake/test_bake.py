"""A bake configures packages with the host's programs on top, and none of them stays; its layer has one spelling."""

from __future__ import annotations

import os
import re
import shutil
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from builder.bake import LayerInputs, bake
from builder.bake.accel import TAR
from builder.bake.binfmt import host_architecture
from builder.bake.elf import MACHINES, foreign_files, machine_of
from builder.bake.pack import is_leftover, pack
from builder.bake.stand_ins import Twins, make_stand_ins
from builder.errors import BuildError, ConfigurationError
from builder.fetch import Cache
from builder.fetch.cache import sha256_of
from builder.fs.tree import Tree
from builder.host.run import run, which
from builder.model.identities import Action, Identities
from builder.model.layer import ROOT_TAR
from builder.model.lock import Deb, Resolution
from builder.model.progress import Silent
from builder.store.products import Product, Store
from tests.making import step

EPOCH = 1_700_000_000
OURS = host_architecture()
(THEIRS,) = MACHINES.keys() - {OURS}


def elf(architecture: str) -> bytes:
    """The first 20 bytes of a program, little-endian (elf(5)), and some more."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, MACHINES[architecture]) + b"code"


def furnish(root: Path, files: Mapping[str, bytes | str | None]) -> Path:
    """Files (bytes), directories (None) and symlinks (str), with their parents."""
    root.mkdir(exist_ok=True)
    for name, what in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match what:
            case None:
                path.mkdir()
            case str():
                path.symlink_to(what)
            case _:
                path.write_bytes(what)
    return root


def packed(tree: Path, lower: Path | None = None, architecture: str = OURS) -> Path:
    out = tree.with_suffix(".tar")
    pack(tree, lower, out, architecture=architecture, epoch=EPOCH)
    return out


def names(layer: Path) -> list[str]:
    with tarfile.open(layer) as tar:
        return tar.getnames()


# Layers ---------------------------------------------------------------------------------------------------------------


def test_a_layer_holds_what_has_changed_and_whiteouts_of_what_is_gone(tmp_path: Path) -> None:
    same: dict[str, bytes | str | None] = {"etc/same": b"same", "etc/link": "same", "usr/bin/x": b"x"}
    lower = furnish(tmp_path / "lower", {**same, "etc/old": b"old", "etc/text": b"one", "srv/a/b": b"b", "opt": "srv"})
    tree = furnish(tmp_path / "tree", {**same, "etc/text": b"two", "new/file": b"", "opt": "etc"})
    layer = packed(tree, lower)
    assert names(layer) == ["etc/.wh.old", "etc/text", "new", "new/file", "opt", ".wh.srv"]
    merged = Tree.of_layers([packed(lower), layer], EPOCH)
    assert merged.index() == Tree.of_layers([packed(tree)], EPOCH).index()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"x/y": b"1"}, {"x": b"file"}),
        ({"x": b"file"}, {"x/y": b"1"}),
        ({"x/y": b"1"}, {"x": "etc"}),
        ({"lib": "usr/lib", "usr/lib/a": b"a"}, {"lib/a": b"a", "usr/lib/a": b"a"}),
        ({"lib": "usr/lib", "usr/lib/d/a": b"a"}, {"lib/d/a": b"a", "usr/lib/d/b": b"b"}),
    ],
    ids=["folder to file", "file to folder", "folder to link", "link to folder", "link to folder, deep"],
)
def test_a_layer_on_its_lower_is_the_tree(
    before: dict[str, bytes | str], after: dict[str, bytes | str], tmp_path: Path
) -> None:
    lower, tree = furnish(tmp_path / "lower", before), furnish(tmp_path / "tree", after)
    merged = Tree.of_layers([packed(lower), packed(tree, lower)], EPOCH)
    assert merged.index() == Tree.of_layers([packed(tree)], EPOCH).index()


def test_mode_alone_is_a_change(tmp_path: Path) -> None:
    lower, tree = (furnish(tmp_path / name, {"a": b"a", "d": None}) for name in ("lower", "tree"))
    (tree / "a").chmod(0o4711)
    (tree / "d").chmod(0o1777)
    index = Tree.of_layers([packed(tree, lower)], EPOCH).index()
    assert [entry[:3] for entry in index] == [["a", "file", 0o4711], ["d", "dir", 0o1777]]


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("etc/machine-id", False),
        ("etc/ssh/ssh_host_ed25519_key.pub", False),
        ("etc/ssh/sshd_config", True),
        ("etc/hosts", True),
        ("var/log/apt/term.log", False),
        ("var/lib/apt/lists/deb.debian.org_InRelease", False),
        ("var/lib/dpkg/status", True),
        ("var/lib/dpkg/status-old", False),
        ("var/cache/ldconfig/aux-cache", False),
        ("var/lib/systemd/random-seed", False),
        ("run/initramfs-wanted", False),
        ("tmp/x/y", False),
        ("usr/lib/tmp/x", True),
    ],
)
def test_what_says_more_of_the_bake_than_of_the_packages_is_left_out(name: str, stays: bool, tmp_path: Path) -> None:
    tree = furnish(tmp_path / "tree", {name: b"x"})
    assert (name in names(packed(tree))) == stays
    assert is_leftover(name, is_dir=False) != stays


def test_folders_for_leftovers_stay(tmp_path: Path) -> None:
    tree = furnish(tmp_path / "tree", {"var/log/apt/term.log": b"x", "tmp/x": b"", "run/y": b"", "dev/z": b""})
    assert names(packed(tree)) == ["dev", "run", "tmp", "var", "var/log", "var/log/apt"]


def test_a_layer_knows_no_clock_and_no_order(tmp_path: Path) -> None:
    files: dict[str, bytes | str | None] = {"b": b"b", "a/c": b"c", "a/ü": b"", "l": "a"}
    first, second = furnish(tmp_path / "one", files), furnish(tmp_path / "two", dict(reversed(files.items())))
    (second / "a/twin").hardlink_to(second / "b")
    (first / "a/twin").hardlink_to(first / "b")
    os.utime(second / "a", (1, 1))
    for tree in (first, second):
        os.utime(tree / "a/c", (EPOCH - 9, EPOCH - 9))
    assert packed(first).read_bytes() == packed(second).read_bytes()
    with tarfile.open(packed(first)) as tar:
        assert [(info.name, int(info.mtime) - EPOCH, info.linkname) for info in tar] == [
            ("a", 0, ""),
            ("a/c", -9, ""),
            ("a/twin", 0, ""),
            ("a/ü", 0, ""),
            ("b", 0, "a/twin"),
            ("l", 0, "a"),
        ]


@pytest.mark.disk
def test_capabilities_are_in_the_layer_and_other_attributes_are_not(tmp_path: Path) -> None:
    value = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
    tree = furnish(tmp_path / "tree", {"ping": b"", "a": b""})
    os.setxattr(tree / "ping", "security.capability", value)
    os.setxattr(tree / "a", "user.note", b"host")
    entries = Tree.of_layers([packed(tree)], EPOCH).entries
    assert entries["ping"].xattrs == {"SCHILY.xattr.security.capability": value.decode("utf-8", "surrogateescape")}
    assert entries["a"].xattrs == {}
    lower = furnish(tmp_path / "lower", {"ping": b"", "a": b""})
    assert names(packed(tree, lower)) == ["ping"]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    tree = furnish(tmp_path / "tree", {})
    os.mkfifo(tree / "pipe")
    with pytest.raises(BuildError, match="/pipe: is neither file, directory nor symlink"):
        packed(tree)


# Programs of the wrong machine ----------------------------------------------------------------------------------------


def test_the_machine_of_real_and_of_broken_programs() -> None:
    assert machine_of(Path(which("dpkg") or "").read_bytes()[:20]) == MACHINES[OURS]
    assert machine_of(elf("arm64")[:20]) == 183
    assert machine_of(b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">HH", 3, 21)) == 21
    assert [machine_of(head) for head in (b"", b"\x7fELF", elf("amd64")[:19], b"#!/bin/sh\n" * 2)] == [None] * 4


def test_a_foreign_program_is_found_but_not_an_emulators_firmware(tmp_path: Path) -> None:
    tree = furnish(
        tmp_path / "tree",
        {
            "usr/bin/ours": elf(OURS),
            "usr/sbin/blkid": elf(THEIRS),
            "usr/lib/libkmod.so.2": elf(THEIRS),
            "usr/bin/link": "../sbin/blkid",
            "usr/bin/short": b"\x7fELF",
            "usr/share/qemu/bios.elf": elf(THEIRS),
        },
    )
    assert foreign_files(tree, OURS) == ["usr/lib/libkmod.so.2", "usr/sbin/blkid"]
    with pytest.raises(BuildError, match=f"2 files are programs of another machine than {OURS}: usr/lib/libkmod"):
        packed(tree)
    packed(furnish(tmp_path / "other", {"usr/sbin/blkid": elf(THEIRS)}), architecture=THEIRS)


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    """One host program, a second name for it, and one for which the tree has a link; over a tree with its own."""
    files: dict[str, bytes | str | None] = {
        "usr/bin/dash": b"host",
        "usr/bin/ash": b"host",
        "usr/sbin/depmod": b"kmod of the host",
        "usr/bin/sh": "dash",
    }
    tree: dict[str, bytes | str | None] = {
        "usr/bin/dash": b"of the tree",
        "usr/bin/ash": b"of the tree, too",
        "usr/sbin/depmod": "../bin/kmod",
    }
    return Twins(furnish(tmp_path / "top", files), [furnish(tmp_path / "tree", tree)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("usr/bin/dash", "of the tree"),
        ("usr/bin/ash", "of the tree, too"),
        ("usr/bin/dash.distrib", "of the tree, too"),
        ("opt/x/shell", "of the tree, too"),
    ],
)
def test_what_a_script_took_of_a_host_program_becomes_the_trees(
    twins: Twins, tmp_path: Path, name: str, content: str
) -> None:
    upper = furnish(tmp_path / "upper", {name: b"host", "usr/bin/own": b"mine", "usr/bin/sh": "dash"})
    (upper / name).chmod(0o4751)
    twins.put_right(upper)
    assert (upper / name).read_text() == content
    assert (upper / name).stat().st_mode & 0o7777 == 0o4751
    assert (upper / "usr/bin/own").read_text() == "mine"


def test_a_copy_of_a_host_program_that_the_tree_has_as_a_link_is_refused(twins: Twins, tmp_path: Path) -> None:
    upper = furnish(tmp_path / "upper", {"usr/sbin/depmod": b"kmod of the host"})
    with pytest.raises(BuildError, match=r"usr/sbin/depmod: is a copy of the build host's usr/sbin/depmod"):
        twins.put_right(upper)


def test_a_stub_that_a_script_has_edited_is_refused(tmp_path: Path) -> None:
    tree = furnish(tmp_path / "tree", {"usr/bin/mandb": b"mandb"})
    top = make_stand_ins(tmp_path, [tree], foreign=False)
    upper = furnish(tmp_path / "upper", {"usr/bin/mandb": b"#!/bin/sh\nexit 1\n"})
    with pytest.raises(BuildError, match="usr/bin/mandb: was rewritten while a stand-in of ours lay there"):
        Twins(top, [tree]).put_right(upper)


# A small bake ---------------------------------------------------------------------------------------------------------

PROGRAMS = ("cat", "chmod", "chown", "cp", "diff", "dpkg", "dpkg-deb", "ln", "mkdir", "mv", "rm", "sh", "tar", "touch")
SYSTEM = {
    "usr/bin/greet": "#!/bin/sh\necho of the tree\n",
    "usr/sbin/ldconfig": "#!/bin/sh\n",
    "usr/sbin/start-stop-daemon": "#!/bin/sh\n",
    "usr/sbin/update-initramfs": "#!/bin/sh\ncp /usr/lib/modules/$3/driver /boot/initrd.img-$3\n",
    "usr/bin/unmkinitramfs": "#!/bin/sh\nmkdir $2 && cp $1 $2/driver\n",
    "usr/lib/modules/6.12/driver": "module\n",
    "etc/old": "old\n",
    "var/lib/dpkg/status": "",
    "var/lib/dpkg/info/format": "1\n",
    "tmp/empty": "",
}
GREETS = "greet >/etc/greeted-at-configure\nls=$(cat /proc/mounts) || exit 1\ntest $SOURCE_DATE_EPOCH = 1700000000\n"


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with just enough of this machine's system that dpkg configures packages in it."""
    root = tmp_path_factory.mktemp("lower") / "root"
    furnish(root, {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"})
    furnish(root, {"usr/bin": None, "usr/lib64": None, "boot": None})
    for name, text in SYSTEM.items():
        furnish(root, {name: text.encode()})
        (root / name).chmod(0o755)
    for program in PROGRAMS:
        path = which(program)
        assert path is not None
        for needed in [path, *re.findall(r"(/\S+) \(0x", run(["ldd", path]).text)]:
            target = root / needed.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(needed).read_bytes())
            target.chmod(0o755)

    def make(fresh: Path) -> None:
        shutil.move(packed(root), fresh / ROOT_TAR)

    return Store(root.parent).make(step("layers"), make).folder


@pytest.fixture
def accel(tmp_path: Path) -> Path:
    """Host programs: one for a program that the tree has, one for a program that it lacks."""

    def make(fresh: Path) -> None:
        files = {"greet": b"#!/bin/sh\necho of the host\n", "lacking": b"#!/bin/sh\necho host\n"}
        trees = tmp_path / "host-programs"
        furnish(trees, {"libraries": None, **{f"programs/usr/bin/{name}": text for name, text in files.items()}})
        for program in trees.rglob("usr/bin/*"):
            program.chmod(0o755)
        run(["tar", "-c", "-f", fresh / TAR, "-C", trees, "programs", "libraries"])

    return Store(tmp_path / "made").make(step("accel"), make).folder


Baker = Callable[..., Path]
NOTHING_KNOWN = Identities()


@pytest.fixture
def baked(lower: Path, accel: Path, tmp_path: Path) -> Baker:
    """baked(postinst, files, room, under, identities, twice): the layer of one package on the lower, or on `under`. It
    is made in a cache of its own."""

    def make(
        postinst: str,
        files: Mapping[str, bytes] | None = None,
        room: str = "room",
        under: Path | None = None,
        identities: Identities = NOTHING_KNOWN,
        twice: bool = False,
    ) -> Path:
        cache, store = Cache(tmp_path / room), Store(tmp_path / room)
        deb = _package(tmp_path / f"{room}.package", postinst, files or {}, cache)
        return bake(
            Resolution("", EPOCH, (deb,)),
            LayerInputs(
                architecture=OURS,
                files={"/etc/given": ("given\n", 0o640)},
                commands=(("sh", "-c", "greet >/etc/greeted-at-end; rm /etc/old"),),
                identities=identities,
            ),
            lower=Product(under or lower),
            accel=Product(accel),
            cache=cache,
            store=store,
            progress=Silent(),
            label="test",
            twice=twice,
        ).folder

    return make


def _package(root: Path, postinst: str, files: Mapping[str, bytes], cache: Cache) -> Deb:
    control = f"Package: hello\nVersion: 1\nArchitecture: {OURS}\nMaintainer: x <x@y>\nDescription: x\n"
    script = f"#!/bin/sh\nset -e\n{postinst}\n"
    furnish(root, {"DEBIAN/control": control.encode(), "DEBIAN/postinst": script.encode(), **files})
    (root / "DEBIAN/postinst").chmod(0o755)
    file = root.with_suffix(".deb")
    run(["dpkg-deb", "--root-owner-group", "-b", root, file], env={"SOURCE_DATE_EPOCH": str(EPOCH)})
    cache.files.mkdir(parents=True)
    digest = sha256_of(file)
    return Deb("hello", "1", OURS, "", "", digest, file.rename(cache.path(digest)).stat().st_size)


def text(tree: Tree, path: str) -> str:
    entry = tree.get(path)
    assert entry is not None, f"there is no {path}"
    return entry.read().decode()


@pytest.mark.disk
def test_packages_are_configured_under_host_programs_that_do_not_stay(baked: Baker, lower: Path) -> None:
    asks = f"{GREETS}update-initramfs -u\nif command -v lacking; then exit 1; fi\n"
    layer = baked(asks, {"usr/share/hello": b"hello\n"})
    made = Tree.of_layers([layer / ROOT_TAR], EPOCH)
    whole = Tree.of_layers([lower / ROOT_TAR, layer / ROOT_TAR], EPOCH)

    assert text(made, "usr/share/hello") == "hello\n"
    assert text(made, "etc/given") == "given\n"
    assert made.entries["etc/given"].mode == 0o640
    assert text(made, "etc/greeted-at-configure") == "of the host\n"
    assert text(made, "etc/greeted-at-end") == "of the tree\n"
    assert text(made, "boot/initrd.img-6.12") == "module\n"
    assert "Status: install ok installed" in text(made, "var/lib/dpkg/status")
    assert text(whole, "usr/bin/greet") == SYSTEM["usr/bin/greet"]
    assert text(whole, "usr/sbin/update-initramfs") == SYSTEM["usr/sbin/update-initramfs"]
    assert whole.get("etc/old") is None
    assert "etc/.wh.old" in names(layer / ROOT_TAR)
    assert not [path for path in made.entries if path.startswith(("usr/bin", "usr/sbin", "proc/", "dev/", "run/"))]


@pytest.mark.disk
@pytest.mark.parametrize(
    ("postinst", "made"),
    [
        ("chmod 4711 /usr/bin/greet", {"usr/bin/greet": 0o4711}),
        ("chown 5:6 /usr/bin/greet; chmod 4755 /usr/bin/greet", {"usr/bin/greet": 0o4755}),
        ("mv /usr/bin/greet /usr/bin/greet.distrib", {"usr/bin/greet.distrib": 0o755}),
        ("cp /usr/bin/greet /etc/greet; ln /usr/bin/greet /usr/bin/hail", {"etc/greet": 0o755, "usr/bin/hail": 0o755}),
    ],
    ids=["mode", "owner", "moved", "copied and linked"],
)
def test_a_script_that_handles_a_host_program_has_handled_the_trees(
    baked: Baker, lower: Path, postinst: str, made: dict[str, int]
) -> None:
    layer = baked(postinst)
    whole = Tree.of_layers([lower / ROOT_TAR, layer / ROOT_TAR], EPOCH)
    found = {name: (text(whole, name), whole.entries[name].mode) for name in made}
    assert found == {name: (SYSTEM["usr/bin/greet"], mode) for name, mode in made.items()}
    assert (whole.get("usr/bin/greet") is None) == postinst.startswith("mv")
    assert {whole.entries[name].uid for name in made} == {5 if "chown" in postinst else 0}


@pytest.fixture
def owned(lower: Path, tmp_path: Path) -> Path:
    """The lower with a statoverride of a user and a group that this host lacks, and a file that is not unpacked."""
    root = tmp_path / "owned"
    root.mkdir()
    run(["tar", "-x", "-f", lower / ROOT_TAR, "-C", root])
    furnish(root, {"etc/passwd": b"root:x:0:0::/:/bin/sh\n_no-such-user:x:941:942::/:/bin/sh\n"})
    furnish(root, {"etc/group": b"root:x:0:\nno-such-group:x:942:\n"})
    furnish(root, {"var/lib/dpkg/statoverride": b"_no-such-user no-such-group 2750 /usr/bin/table\n"})
    furnish(root, {"etc/dpkg/dpkg.cfg.d/small": b"# no manuals\npath-exclude=/usr/share/man/*\nforce-unsafe-io\n"})

    def make(fresh: Path) -> None:
        shutil.move(packed(root), fresh / ROOT_TAR)

    return Store(tmp_path / "owned-store").make(step("layers"), make).folder


@pytest.mark.disk
def test_owners_are_looked_up_in_the_trees_own_lists(baked: Baker, owned: Path) -> None:
    files = {"usr/bin/table": b"x", "usr/bin/free": b"x", "usr/share/man/man1/table.1": b"x"}
    layer = baked("true", files, under=owned)
    made = Tree.of_layers([layer / ROOT_TAR], EPOCH).entries
    table = made["usr/bin/table"]
    assert (table.uid, table.gid, table.mode) == (941, 942, 0o2750)
    assert (made["usr/bin/free"].uid, made["usr/bin/free"].gid) == (0, 0)
    assert "usr/share/man/man1/table.1" not in made


KEY = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIEl0\\n-----END PRIVATE KEY-----\\n"


@pytest.mark.disk
def test_a_key_that_a_script_makes_ends_the_bake(baked: Baker) -> None:
    with pytest.raises(ConfigurationError) as refused:
        baked(f"printf %b '{KEY}' >/etc/key")
    said = "is a private key that a package's script has made: every node would have the same one"
    assert str(refused.value).splitlines() == [
        f"/etc/key (package hello): {said}",
        "  say identities: {/etc/key: remake} in the role's or node's profile (or remove, or keep)",
    ]


@pytest.mark.disk
@pytest.mark.parametrize("action", ["keep", "remove", "remake"])
def test_the_profile_decides_about_a_key_that_a_script_makes(baked: Baker, action: Action) -> None:
    remaker = {"/usr/lib/pimu/identities.d/packages": ("#!/bin/sh\n", 0o755)}
    layer = baked(f"printf %b '{KEY}' >/etc/key", identities=Identities({"/etc/key": action}, remaker))
    made = Tree.of_layers([layer / ROOT_TAR], EPOCH)
    assert ("etc/key" in made.entries) == (action == "keep")
    assert ("usr/lib/pimu/identities.d/packages" in made.entries) == (action == "remake")
    if action == "remake":
        assert text(made, "usr/lib/pimu/identities.list") == "/etc/key hello\n"


@pytest.mark.disk
def test_no_layer_knows_the_name_of_its_build_host(baked: Baker) -> None:
    made = Tree.of_layers([baked("cat /proc/sys/kernel/hostname >/etc/made-on") / ROOT_TAR], EPOCH)
    assert text(made, "etc/made-on") == "localhost\n"


@pytest.mark.disk
def test_a_layer_that_is_baked_twice_and_is_the_same_is_fine(baked: Baker) -> None:
    assert (baked("cat /etc/given >/etc/same", twice=True) / ROOT_TAR).exists()


@pytest.mark.disk
def test_files_that_differ_in_a_second_bake_are_named(baked: Baker, tmp_path: Path) -> None:
    chance = "cat /proc/sys/kernel/random/uuid"
    script = f"{chance} >/etc/id; {chance} >/usr/share/hello/id; mkdir /etc/$({chance}); touch /etc/same"
    with pytest.raises(BuildError) as refused:
        baked(script, {"usr/share/hello/id": b"-"}, twice=True)
    said = str(refused.value)
    assert said.startswith("test: 4 files are not the same in two bakes:\n")
    assert "/etc/id: content\n" in said
    assert "/usr/share/hello/id: content (package hello)\n" in said
    assert said.count("is in one of them only") == 2
    assert "/etc/same" not in said
    assert list((tmp_path / "room/work").iterdir()) == []


@pytest.mark.disk
def test_two_bakes_make_the_same_layer_and_leave_no_room_behind(baked: Baker, tmp_path: Path) -> None:
    layers = [baked("touch /etc/made", {"usr/bin/x": b"x"}, room) for room in ("one", "two")]
    assert len({sha256_of(layer / ROOT_TAR) for layer in layers}) == 1
    assert list((tmp_path / "one/work").iterdir()) == []
    assert "/merged" not in Path("/proc/mounts").read_text()


@pytest.mark.disk
@pytest.mark.parametrize(
    ("postinst", "files", "said"),
    [
        ("echo cannot be configured >&2; exit 3", {}, "cannot be configured"),
        ("true", {"usr/bin/x": elf(THEIRS)}, "1 files are programs of another machine than .*: usr/bin/x"),
        (
            "update-initramfs -u; cp /etc/foreign /usr/lib/modules/6.12/driver",
            {"etc/foreign": elf(THEIRS)},
            "the initrd: holds programs of another machine: driver",
        ),
    ],
    ids=["script fails", "foreign program", "foreign program in the initrd"],
)
def test_a_bake_that_goes_wrong_says_why_and_leaves_nothing(
    baked: Baker, tmp_path: Path, postinst: str, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(BuildError, match=said):
        baked(postinst, files)
    assert list((tmp_path / "room/work").iterdir()) == []
    assert not [path for path in (tmp_path / "room/layers").iterdir() if path.is_dir()]
