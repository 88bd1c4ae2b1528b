"""ext4 volumes inside a disk image, made and edited unmounted, so that the same input gives the same bytes.

Offsets and sizes are bytes. libext2fs opens `IMAGE?offset=N` (ext2fs_open2 passes the text after `?` to the io
manager).
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from builder.errors import BuildError
from builder.fs.tree import Entry, Kind, Tree
from builder.host.run import failure, run

TOOLS = ("debugfs", "e2fsck", "mke2fs", "resize2fs")

BLOCK = 4096
_INODE = 256
_INODE_RATIO = 16384
_JOURNAL = 64 << 20
_SUPERBLOCK, _MAGIC, _MKFS_TIME, _MKFS_TIME_HIGH = 1024, 0x38, 0x108, 0x276
_CONFIG = Path(__file__).with_name("mke2fs.conf")
_KINDS: dict[str, Kind] = {"regular": "file", "directory": "dir", "symlink": "link"}
_INODE_FACTS = re.compile(
    r"Type: (?P<type>\w+)\s+Mode:\s+(?P<mode>\d+)\s.*?"
    r"User:\s+(?P<uid>\d+)\s+Group:\s+(?P<gid>\d+)\s.*?Size: (?P<size>\d+)",
    re.DOTALL,
)
_GROUP = re.compile(r"block bitmap at (\d+), inode bitmap at (\d+), inode table at (\d+)$", re.MULTILINE)
_TABLE = re.compile(r"^Inode blocks per group: +(\d+)$", re.MULTILINE)
_NUMBERS = re.compile(r"[0-9 ]+")
_LINK_TARGET = re.compile(r'^Fast link dest: "(.*)"$', re.MULTILINE)
_FORMATS = {"file": 0o100000, "dir": 0o040000, "link": 0o120000}


def needed_size(tree: Tree, margin: int) -> int:
    """Bytes for a volume that holds the tree, its metadata, its journal and `margin` of free room, in MiB steps."""
    blocks = sum(-(-entry.size // BLOCK) if entry.kind == "file" else 1 for entry in tree.entries.values())
    content = max(blocks * BLOCK + _JOURNAL, len(tree.entries) * _INODE_RATIO) + margin  # small files want inodes
    tables = content // _INODE_RATIO * _INODE + content // 64
    return -(-(content + tables) >> 20) << 20


def volume(image: Path, start: int) -> str:
    if "?" in str(image):
        raise BuildError("e2fsprogs takes the text after a ? for an option", where=str(image), hint="rename the folder")
    return f"{image}?offset={start}"


def make(
    image: Path,
    tar: Path,
    *,
    start: int,
    size: int,
    label: str,
    uuid: str,
    hash_seed: str,
    features: str,
    epoch: int,
    extended: Sequence[str] = (),
) -> None:
    """Make a volume of `size` bytes at `start` that holds the tar.

    Our own mke2fs.conf, as the host's changes with its release; one `-E`, as mke2fs before 1.47.4 keeps only the last;
    nodiscard, as a discard would punch through the rest of the image.
    """
    options = [f"hash_seed={hash_seed}", f"offset={start}", "nodiscard", "root_owner=0:0", *extended]
    run(
        [
            *("mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", str(_INODE), "-m", "1"),
            *("-L", label, "-U", uuid, "-O", features, "-J", f"size={_JOURNAL >> 20}", "-E", ",".join(options)),
            *("-d", tar, image, f"{size >> 10}k"),
        ],
        env=_clock(epoch) | {"MKE2FS_CONFIG": str(_CONFIG)},
    )


def read_files(image: Path, start: int, paths: Sequence[str], work: Path) -> list[bytes]:
    """Contents of regular files, by paths relative to the volume's root."""
    outputs = [work / f"dump-{number}" for number in range(len(paths))]
    dump_files(image, start, dict(zip(paths, outputs, strict=True)))
    return [output.read_bytes() for output in outputs]


def dump_files(image: Path, start: int, outputs: Mapping[str, Path]) -> None:
    """Copy regular files, by paths relative to the volume's root, into files of the build host."""
    script = [f"dump {_quoted(f'/{path}')} {_quoted(output)}" for path, output in outputs.items()]
    _debugfs(image, start, script, epoch=0, writable=False)


def made_at(image: Path, start: int) -> int:
    """When a volume was made, in seconds: s_mkfs_time (Linux, Documentation/filesystems/ext4/super.rst).

    Raises BuildError when there is no ext4.
    """
    with image.open("rb") as file:
        file.seek(start + _SUPERBLOCK)
        block = file.read(1024)
    if block[_MAGIC : _MAGIC + 2] != b"\x53\xef":
        raise BuildError(f"has no ext4 volume at byte {start}", where=str(image))
    low, high = block[_MKFS_TIME : _MKFS_TIME + 4], block[_MKFS_TIME_HIGH : _MKFS_TIME_HIGH + 1]
    return int.from_bytes(low + high, "little")


def look(image: Path, start: int, paths: Sequence[str], work: Path) -> dict[str, Entry]:
    """Entries at these paths, which are relative to the volume's root, by path; a path without a file has none. A
    content is read when it is asked for, through the empty folder `work`."""
    script = "".join(f"stat {_quoted(f'/{path}')}\n" for path in paths)
    shown = run(["debugfs", "-f", "-", volume(image, start)], input=script.encode()).text
    entries = {}
    for path, facts in zip(paths, shown.split("debugfs: stat ")[1:], strict=True):
        inode = _INODE_FACTS.search(facts)
        if inode is not None and (kind := _KINDS.get(inode["type"])) is not None:
            target = _LINK_TARGET.search(facts)
            entries[path] = Entry(
                kind,
                int(inode["mode"], 8),
                int(inode["uid"]),
                int(inode["gid"]),
                size=int(inode["size"]),
                target=target[1] if target else "",
                content=functools.partial(_content, image, start, path, work),
            )
    return entries


def is_clean(image: Path, start: int) -> bool:
    """Whether a volume was unmounted, or never mounted: an edit before the replay of a journal is lost."""
    state = run(["debugfs", "-R", "stats -h", volume(image, start)], check=False).text
    return "needs_recovery" not in state and bool(re.search(r"^Filesystem state:\s+clean$", state, re.MULTILINE))


def free_blocks(image: Path, start: int) -> list[int]:
    """Numbers of the volume's blocks that are not in use, in order. Raises BuildError when debugfs cannot say so."""
    # `ffb COUNT` prints so many of them (debugfs(8)), and no more than there are.
    shown = run(["debugfs", "-f", "-", volume(image, start)], input=b"stats -h\nffb 2000000000 0\n").text
    counted = re.search(r"^Free blocks: +(\d+)$", shown, re.MULTILINE)
    _, _, listed = shown.partition("Free blocks found: ")
    free = sorted(map(int, listed.split()))
    if counted is None or len(free) != int(counted[1]):
        said = counted[1] if counted else "no"
        raise BuildError(f"has {said} free blocks, and debugfs lists {len(free)}", where=str(image))
    return free


def blocks_of(debugfs: Callable[[str], str], paths: Sequence[str]) -> set[int]:
    """Numbers of the blocks that these files and folders, by absolute path, are in. `debugfs` answers requests, one a
    line."""
    listed = debugfs("".join(f"blocks {_quoted(path)}\n" for path in paths))
    return {int(word) for line in listed.splitlines() if _NUMBERS.fullmatch(line) for word in line.split()}


def metadata_blocks(debugfs: Callable[[str], str]) -> list[tuple[int, int]]:
    """First and last block of bitmaps and inode tables, and of all before them: superblock, group descriptors.

    Raises BuildError when debugfs finds none.
    """
    stats = debugfs("stats\n")
    length, found = _TABLE.search(stats), _GROUP.findall(stats)
    if length is None or not found:
        raise BuildError(f"debugfs finds no groups of blocks: {stats.strip()[:200]}")
    groups = [tuple(map(int, group)) for group in found]
    ranges = [(0, min(min(group) for group in groups))]
    for block_bitmap, inode_bitmap, table in groups:
        ranges += [(block_bitmap, block_bitmap), (inode_bitmap, inode_bitmap), (table, table + int(length[1]) - 1)]
    return ranges


def grow(image: Path, epoch: int) -> None:
    """Let the filesystem that fills a disk without partitions have all that the disk has become."""
    checked = run(["e2fsck", "-f", "-p", image], env=_clock(epoch), check=False)
    if checked.returncode not in (0, 1):  # 1: something was put right (e2fsck(8))
        raise BuildError(failure(checked))
    run(["resize2fs", image], env=_clock(epoch))


def _content(image: Path, start: int, path: str, work: Path) -> BinaryIO:
    return io.BytesIO(read_files(image, start, [path], work)[0])


def edit(
    image: Path, start: int, changes: Sequence[tuple[str, Entry | None, Entry | None]], work: Path, epoch: int
) -> None:
    """Put entries into a clean, unmounted volume: (path, entry that is there, entry that shall be, None to remove).

    Parents must exist or come earlier. Raises BuildError when the volume was not cleanly unmounted: edits made before
    a journal replay are lost.
    """
    if not changes:
        return
    script: list[str] = []
    for number, (path, old, new) in enumerate(changes):
        script += _commands(_quoted(f"/{path}"), old, new, work / f"content-{number}", epoch)
    if not is_clean(image, start):
        raise BuildError("the root volume is not clean; it was mounted and not unmounted", where=str(image))
    _debugfs(image, start, script, epoch=epoch, writable=True)


def _commands(path: str, old: Entry | None, new: Entry | None, content: Path, epoch: int) -> list[str]:
    commands = []
    if old is not None and (new is None or old.kind != "dir"):
        commands.append(f"rm {path}")
    if new is None:
        return commands
    if new.kind == "file":
        content.write_bytes(new.read())
        commands.append(f"write {_quoted(content)} {path}")
    elif new.kind == "link":
        commands.append(f"symlink {path} {_quoted(new.target)}")
    elif old is None:
        commands.append(f"mkdir {path}")
    fields = {"mode": f"0{_FORMATS[new.kind] | new.mode:o}", "uid": new.uid, "gid": new.gid}
    # Without the @, debugfs takes ten digits for a date: 1795313345 for the 33rd of a 31st month of 1795.
    times = dict.fromkeys(("atime", "ctime", "mtime", "crtime"), f"@{epoch}")
    return commands + [f"sif {path} {name} {value}" for name, value in {**fields, **times}.items()]


def _quoted(path: str | Path) -> str:
    """debugfs splits its lines at blanks and knows double quotes, but no way to write one."""
    if not re.fullmatch(r"[^\x00-\x1f\"\x7f]+", str(path)):
        raise BuildError("debugfs cannot name this path", where=str(path))
    return f'"{path}"'


def _debugfs(image: Path, start: int, script: Sequence[str], *, epoch: int, writable: bool) -> None:
    """debugfs exits with 0 when a command fails, and says so on stderr only: any word there is a failure."""
    mode = ["-w"] if writable else []
    result = run(
        ["debugfs", *mode, "-f", "-", volume(image, start)],
        input=("\n".join(script) + "\n").encode("utf-8", "surrogateescape"),
        env=_clock(epoch),
    )
    complaints = [line for line in result.stderr.decode(errors="replace").splitlines()[1:] if line.strip()]
    if complaints:
        raise BuildError(f"debugfs: {'; '.join(complaints[:5])}", where=str(image))


def _clock(epoch: int) -> dict[str, str]:
    """All names of the fake clock: e2fsprogs before 1.47.1 knows only its own, and e2fsck another."""
    return dict.fromkeys(("SOURCE_DATE_EPOCH", "E2FSPROGS_FAKE_TIME", "E2FSCK_TIME"), str(epoch))
