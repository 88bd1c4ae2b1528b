"""Disk images hold what their trees hold, are clean, and are the same bytes whoever makes them, and whenever."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.fs import chunks, ext4, fat, mbr
from builder.fs.tree import Entry, Tree
from builder.host.run import run

pytestmark = pytest.mark.disk

MIB = 1 << 20
EPOCH = 1_700_000_000  # 2023-11-14 22:13:20 UTC
BOOT, BOOT_SIZE, ROOT, ROOT_SIZE = 8 * MIB, 64 * MIB, 72 * MIB, 192 * MIB
ID = "6c1b4a83-5f0a-5b0e-9d0e-7f3c7f3f3f01"
CAPABILITY = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
ODD = ("with blank", "ünï", "a,b;c", "[x]", "-dash", "star*", "it's", "$HOME", "#x", "x" * 255)

Index = dict[str, tuple[object, ...]]


def file(content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    return Entry.of_bytes(content, EPOCH, mode, uid, gid)


def folder(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry("dir", mode, uid, gid, EPOCH)


def link(target: str) -> Entry:
    return Entry("link", 0o777, mtime=EPOCH, target=target)


def root_tree() -> Tree:
    perl = file(b"perl" * 5000, 0o755)
    capability = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
    tree = Tree(EPOCH)
    tree.entries |= {
        "etc": folder(),
        "etc/motd": file(b"hello\n", 0o640, 5, 900),
        "etc/empty": file(b""),
        "etc/rc": link("motd"),
        "etc/long": link("/very" * 40),
        "odd": folder(),
        "tmp": folder(0o1777, 1000, 1000),
        "usr": folder(),
        "usr/bin": folder(),
        "usr/bin/perl": perl,
        "usr/bin/perl5.40": perl,
        "usr/bin/su": file(b"su" * 100, 0o4755),
        "usr/bin/ping": replace(file(b"ping", 0o755), xattrs=capability),
        **{f"odd/{name}": file(name.encode()) for name in ODD},
    }
    return tree


def boot_tree() -> Tree:
    tree = Tree(EPOCH)
    tree.entries |= {
        "bcm2711-rpi-4-b.dtb": file(b"dtb"),
        "config.txt": file(b"arm_64bit=1\n"),
        "kernel8.img": file(b"k" * 200_000),
        "overlays": folder(),
        "overlays/README": file(b""),
        "overlays/deep": folder(),
        "overlays/deep/With Blank.dtbo": file(b"dtbo"),
    }
    return tree


def make_disk(room: Path) -> Path:
    image, tar, work = room / "disk.img", room / "root.tar", room / "work"
    work.mkdir(parents=True)
    mbr.sparse(image, ROOT + ROOT_SIZE)
    mbr.write(image, disk_id=0xDEADBEEF, partitions=[(BOOT, BOOT_SIZE, mbr.FAT32_LBA), (ROOT, ROOT_SIZE, mbr.LINUX)])
    root_tree().write_tar(tar)
    make_root(image, tar, ROOT, ROOT_SIZE)
    fat.make(image, start=BOOT, size=BOOT_SIZE, label="bootfs", volume_id=0x0BADCAFE, sectors_per_cluster=1, fat=32)
    fat.fill(image, BOOT, boot_tree(), work)
    return image


def make_root(image: Path, tar: Path, start: int, size: int) -> None:
    features = "metadata_csum,64bit"
    ext4.make(image, tar, start=start, size=size, label="rootfs", uuid=ID, hash_seed=ID, features=features, epoch=EPOCH)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image for all tests that only look at it."""
    return make_disk(tmp_path_factory.mktemp("disk"))


@pytest.fixture
def scratch(disk: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    image = tmp_path / "scratch.img"
    run(["cp", "--sparse=always", disk, image])
    return image


# What others say of the image -----------------------------------------------------------------------------------------


def debugfs(image: Path, *commands: str, writable: bool = False) -> str:
    mode = ["-w"] if writable else []
    script = "".join(f"{command}\n" for command in commands).encode()
    return run(["debugfs", *mode, "-f", "-", ext4.volume(image, ROOT)], input=script).text


def facts(image: Path, path: str = "") -> Index:
    """Mode with type, owner, group, size of everything below `path`, from debugfs's own listing."""
    found: Index = {}
    for line in debugfs(image, f'ls -p "/{path}"').splitlines():
        if not (match := re.fullmatch(r"/\d+/(\d+)/(\d+)/(\d+)/(.*)/(\d*)/", line)):
            continue
        mode, uid, gid, name, size = match.groups()
        if name in (".", "..", "lost+found"):
            continue
        inner = f"{path}/{name}".lstrip("/")
        found[inner] = (int(mode, 8), int(uid), int(gid), int(size or 0))
        if mode.startswith("04"):
            found |= facts(image, inner)
    return found


def expected(tree: Tree) -> Index:
    kinds = {"file": 0o100000, "dir": 0o040000, "link": 0o120000}
    return {
        path: (kinds[entry.kind] | entry.mode, entry.uid, entry.gid, entry.size or len(entry.target))
        for path, entry in tree.sorted()
    }


def check_clean(image: Path, work: Path) -> None:
    """Both checkers, changing nothing, find nothing. fsck.vfat knows no offset."""
    run(["e2fsck", "-fn", ext4.volume(image, ROOT)])
    volume = work / "boot.fat"
    run(["dd", f"if={image}", f"of={volume}", "bs=1M", f"skip={BOOT // MIB}", f"count={BOOT_SIZE // MIB}"])
    run(["fsck.vfat", "-n", volume])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Made -----------------------------------------------------------------------------------------------------------------


def test_the_disk_has_its_partitions_and_its_id(scratch: Path) -> None:
    def table() -> tuple[object, ...]:
        dump = json.loads(run(["sfdisk", "-J", scratch]).stdout)["partitiontable"]
        rows = [(row["start"] * 512, row["size"] * 512, row["type"]) for row in dump["partitions"]]
        return dump["label"], dump["id"], rows

    rows = [(BOOT, BOOT_SIZE, "c"), (ROOT, ROOT_SIZE, "83")]
    assert table() == ("dos", "0xdeadbeef", rows)
    mbr.write_disk_id(scratch, 0x0000CAFE)
    assert table() == ("dos", "0x0000cafe", rows)


def test_both_volumes_are_clean(disk: Path, tmp_path: Path) -> None:
    check_clean(disk, tmp_path)


def test_root_holds_the_tree(disk: Path, tmp_path: Path) -> None:
    tree = root_tree()
    assert facts(disk) == expected(tree)
    paths = [path for path, entry in tree.files() if entry.size]
    assert ext4.read_files(disk, ROOT, paths, tmp_path) == [tree.entries[path].read() for path in paths]


def test_root_keeps_hard_links_capabilities_and_long_links(disk: Path) -> None:
    perl = debugfs(disk, "stat /usr/bin/perl")
    assert "Links: 2" in perl
    assert perl.splitlines()[1:] == debugfs(disk, "stat /usr/bin/perl5.40").splitlines()[1:]
    assert CAPABILITY.hex() in debugfs(disk, "ea_get -x /usr/bin/ping security.capability").replace(" ", "")
    assert "/very" * 40 in debugfs(disk, "cat /etc/long")
    assert 'Fast link dest: "motd"' in debugfs(disk, "stat /etc/rc")


def test_root_knows_no_time_but_the_epoch_and_none(disk: Path) -> None:
    days = re.findall(r"^(?:Filesystem created|Last \w+ time|Last checked): +(.*)", debugfs(disk, "stats -h"), re.M)
    assert set(days) == {"Tue Nov 14 22:13:20 2023", "n/a"}
    paths = [path for path, entry in root_tree().sorted() if entry.mtime == EPOCH]
    stats = debugfs(disk, *(f'stat "/{path}"' for path in paths))
    assert set(re.findall(r"time: 0x(\w+):(\w+)", stats)) == {(f"{EPOCH:08x}", "0" * 8), ("0" * 8, "0" * 8)}


def test_boot_holds_the_tree_with_the_epoch_in_utc(disk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    run(["mcopy", "-s", "-m", "-Q", "-i", f"{disk}@@{BOOT}", "::*", out])
    tree = boot_tree()
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == [path for path, _ in tree.sorted()]
    for path, entry in tree.files():
        assert (out / path).read_bytes() == entry.read()
        assert (out / path).stat().st_mtime == EPOCH
    assert fat.read_file(disk, BOOT, "/overlays/deep/With Blank.dtbo") == b"dtbo"
    listing = run(["mdir", "-i", f"{disk}@@{BOOT}", "::"]).text
    assert re.search(r"overlays +<DIR> +2023-11-14 +22:13", listing)
    assert (listing.split()[5], listing.split()[10]) == ("bootfs", "0BAD-CAFE")


def test_another_day_zone_umask_and_language_make_the_same_bytes(disk: Path, tmp_path: Path) -> None:
    begun = disk.stat().st_mtime
    time.sleep(max(0, begun + 2 - time.time()))  # FAT counts in steps of two seconds
    program = "import os, sys, pathlib; os.umask(0o077); from tests.fs.test_disk import make_disk; "
    environment = {"PATH": "/usr/bin", "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "HOME": os.fspath(tmp_path)}
    (tmp_path / ".mtoolsrc").write_text("mtools_no_vfat=1\n")
    subprocess.run(
        [sys.executable, "-c", f"{program} make_disk(pathlib.Path(sys.argv[1]))", tmp_path / "with blank"],
        cwd=Path(__file__).parents[2],
        env=environment,
        check=True,
    )
    assert sha256(tmp_path / "with blank/disk.img") == sha256(disk)


@pytest.mark.parametrize(
    "entries",
    [
        {f"d{number % 99}/{number}": file(b"small") for number in range(20_000)},
        {f"large{number}": file(bytes([number]) * (30 * MIB)) for number in range(3)},
        {f"d0/{number}": folder() for number in range(5_000)},
        {f"d0/{number}": link("x" * 200) for number in range(5_000)},
        {},
    ],
    ids=["many small files", "few large files", "many folders", "many long links", "nothing"],
)
def test_the_needed_size_fits_the_tree_and_its_margin(entries: dict[str, Entry], tmp_path: Path) -> None:
    margin = 128 * MIB
    tree = Tree(EPOCH)
    tree.entries |= {f"d{number}": folder() for number in range(99)} | entries
    size = ext4.needed_size(tree, margin)
    tree.write_tar(tmp_path / "root.tar")
    mbr.sparse(tmp_path / "disk.img", ROOT + size)
    make_root(tmp_path / "disk.img", tmp_path / "root.tar", ROOT, size)
    state = debugfs(tmp_path / "disk.img", "stats -h")
    free, reserved = (int(re.findall(rf"^{kind} block.*: +(\d+)$", state, re.M)[0]) for kind in ("Free", "Reserved"))
    assert (free - reserved) * ext4.BLOCK >= margin


# Edited ---------------------------------------------------------------------------------------------------------------

CHANGES: list[tuple[str, Entry | None]] = [
    ("srv", folder(0o750, 900, 901)),
    ("srv/new dir", folder()),
    ("srv/new dir/ünï, with blank", file(b"new" * 3000, 0o600, 7, 8)),
    ("etc/motd", file(b"replaced\n", 0o4755, 1, 2)),
    ("etc/empty", file(b"", 0o600)),
    ("etc/rc", link("/with blank/target")),
    ("etc/long", file(b"was a link")),
    ("etc/fresh", link("x" * 200)),
    ("usr/bin/su", link("perl")),
    ("usr/bin/perl5.40", None),
    ("odd/-dash", None),
    ("odd/back\\slash", file(b"new")),
    ("odd/with blank", file(b"seen")),
    ("tmp", folder(0o700, 1, 1)),
]


def stamp(image: Path, work: Path, changes: Sequence[tuple[str, Entry | None]] = CHANGES) -> Tree:
    """Edit the image's root; the tree that it must hold then."""
    tree = root_tree()
    work.mkdir()
    ext4.edit(image, ROOT, [(path, tree.entries.get(path), new) for path, new in changes], work, EPOCH)
    for path, new in changes:
        if new is None:
            del tree.entries[path]
        else:
            tree.entries[path] = new
    return tree


def test_every_kind_of_edit(scratch: Path, tmp_path: Path) -> None:
    tree = stamp(scratch, tmp_path / "work with blank")
    assert facts(scratch) == expected(tree)
    paths = [path for path, entry in tree.files() if entry.size]
    assert ext4.read_files(scratch, ROOT, paths, tmp_path) == [tree.entries[path].read() for path in paths]
    assert 'Fast link dest: "/with blank/target"' in debugfs(scratch, "stat /etc/rc")
    assert "Links: 1" in debugfs(scratch, "stat /usr/bin/perl")
    check_clean(scratch, tmp_path)


def test_edits_are_the_same_bytes_at_another_time(disk: Path, tmp_path: Path) -> None:
    sums = set()
    for name in ("one", "two"):
        image = tmp_path / f"{name}.img"
        run(["cp", "--sparse=always", disk, image])
        stamp(image, tmp_path / name)
        fat.edit(image, BOOT, [("config.txt", file(b""), file(b"x=1\n")), ("new", None, folder())], tmp_path, EPOCH)
        sums.add(sha256(image))
        time.sleep(1.1)
    assert len(sums) == 1


def test_contents_of_boot_are_where_they_are_said_to_be(disk: Path) -> None:
    """With nothing but them: a stamp takes everything else for metadata, which edits may look at."""
    paths = [path for path, _ in boot_tree().files()]
    image = disk.read_bytes()
    contents = b"".join(image[start:end] for start, end in fat.content_extents(disk, BOOT, paths))
    padded = (entry.read() + bytes(-entry.size % 512) for _, entry in boot_tree().files())
    assert contents == b"".join(padded)
    assert fat.content_extents(disk, BOOT, []) == []


def test_edits_of_boot(scratch: Path, tmp_path: Path) -> None:
    old, new = boot_tree(), boot_tree()
    changes: list[tuple[str, Entry | None]] = [
        ("config.txt", file(b"longer than it was before\n")),
        ("ssh", file(b"")),
        ("kernel8.img", None),
        ("deep", folder()),
        ("deep/User Data", file(b"#cloud-config\n")),
        ("not there", None),
        ("overlays", folder()),
    ]
    fat.edit(scratch, BOOT, [(path, old.entries.get(path), entry) for path, entry in changes], tmp_path, EPOCH)
    new.entries |= {path: entry for path, entry in changes if entry is not None}
    del new.entries["kernel8.img"]
    listing = run(["mdir", "-/", "-b", "-i", f"{scratch}@@{BOOT}", "::"]).text.splitlines()
    assert sorted(line.removeprefix("::/").rstrip("/") for line in listing) == sorted(path for path, _ in new.sorted())
    for path, entry in new.files():
        assert fat.read_file(scratch, BOOT, path) == entry.read()
    check_clean(scratch, tmp_path)


def test_a_volume_that_needs_recovery_is_left_alone(scratch: Path, tmp_path: Path) -> None:
    debugfs(scratch, "feature needs_recovery", writable=True)
    before = sha256(scratch)
    with pytest.raises(BuildError, match="root volume is not clean"):
        stamp(scratch, tmp_path / "work")
    assert sha256(scratch) == before


def test_a_volume_that_is_marked_with_errors_is_left_alone(scratch: Path, tmp_path: Path) -> None:
    debugfs(scratch, "ssv state 2", writable=True)
    with pytest.raises(BuildError, match="root volume is not clean"):
        stamp(scratch, tmp_path / "work")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("no/such/file", file(b"x")), "File not found"),
        (("no/such/link", link("x")), "File not found"),
        (("no/such/folder", folder()), "File not found"),
        (("etc/huge", file(b"x" * ROOT_SIZE)), "Could not allocate block"),
        (('etc/a"b', file(b"x")), "debugfs cannot name this path"),
        (("etc/a\nrm etc", file(b"x")), "debugfs cannot name this path"),
        (("etc/l", link('a"b')), "debugfs cannot name this path"),
    ],
    ids=["write", "symlink", "mkdir", "no room", "quote", "newline", "quote in a target"],
)
def test_what_debugfs_cannot_do_is_an_error(
    scratch: Path, tmp_path: Path, change: tuple[str, Entry], said: str
) -> None:
    with pytest.raises(BuildError, match=said):
        stamp(scratch, tmp_path / "work", [change])


def test_a_file_that_is_not_there_cannot_be_read(disk: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="File not found"):
        ext4.read_files(disk, ROOT, ["etc/none"], tmp_path)
    with pytest.raises(BuildError, match="mtype"):
        fat.read_file(disk, BOOT, "/none")


# Addressed ------------------------------------------------------------------------------------------------------------


def plain_digests(image: Path) -> list[str]:
    data = image.read_bytes()
    return [hashlib.sha256(data[at : at + 4 * MIB]).hexdigest() for at in range(0, len(data), 4 * MIB)]


def test_the_digests_of_a_stamped_image_are_those_of_its_bytes(disk: Path, scratch: Path, tmp_path: Path) -> None:
    stamp(scratch, tmp_path / "work")
    mbr.write_disk_id(scratch, 1)
    golden, delta = chunks.digests(disk), chunks.difference(disk, disk, scratch)
    assert golden == plain_digests(disk)
    assert chunks.stamped_digests(disk, golden, delta) == chunks.digests(scratch) == plain_digests(scratch)
    assert chunks.digests(scratch) != golden


def test_the_delta_is_what_has_changed_and_makes_the_stamped_image(disk: Path, scratch: Path, tmp_path: Path) -> None:
    stamp(scratch, tmp_path / "work")
    delta = chunks.difference(disk, disk, scratch)
    assert 0 < len(delta) * chunks.BLOCK < MIB
    copy = shutil.copyfile(disk, tmp_path / "copy.img")
    chunks.apply(delta, copy)
    assert sha256(copy) == sha256(scratch)
    assert chunks.difference(scratch, scratch, copy) == {}


def test_zeros_in_a_hole_are_a_change_where_the_golden_image_has_data(tmp_path: Path) -> None:
    golden, old, new = (tmp_path / name for name in ("golden", "old", "new"))
    golden.write_bytes(b"data" * 2048)
    mbr.sparse(old, 8192)
    new.write_bytes(bytes(4096))
    os.truncate(new, 8192)
    assert chunks.difference(golden, old, new) == {0: bytes(4096)}


@pytest.mark.parametrize("size", [0, 5, 4 * MIB, 4 * MIB + 1, 12 * MIB + 4096])
def test_holes_and_short_ends_have_the_digests_of_their_zeros(tmp_path: Path, size: int) -> None:
    hole, full = tmp_path / "hole", tmp_path / "full"
    mbr.sparse(hole, size)
    full.write_bytes(bytes(size))
    assert chunks.digests(hole) == chunks.digests(full) == plain_digests(full)
    assert chunks.difference(hole, hole, full) == {}


@pytest.mark.parametrize("size", [5, 4 * MIB, 4 * MIB + 1])
def test_a_delta_reaches_to_a_short_end(tmp_path: Path, size: int) -> None:
    hole, full = tmp_path / "hole", tmp_path / "full"
    mbr.sparse(hole, size)
    full.write_bytes(bytes(size - 1) + b"x")
    delta = chunks.difference(hole, hole, full)
    assert len(delta) == 1
    assert chunks.stamped_digests(hole, chunks.digests(hole), delta) == plain_digests(full)


def test_an_image_is_never_made_over_another(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(FileExistsError):
        mbr.sparse(tmp_path / "x", 5)
