"""A whole-disk image of 24 MiB in the layout of a Pi, with its manifest: what tests look into and damage."""

from __future__ import annotations

import hashlib
from pathlib import Path

from builder.fs.chunks import digests
from builder.host.run import run
from builder.model.manifest import CHUNK_SIZE, DiskFacts, FileState, ImageFacts, Manifest, image_digest
from builder.model.progress import Silent
from builder.model.settings import Base
from builder.project import Project

MIB = 1024**2
BOOT_START, BOOT_SIZE = 1 * MIB, 4 * MIB
ROOT_START, ROOT_SIZE = 5 * MIB, 18 * MIB
DISK_ID = 0xDEADBEEF

CONFIG = b"[pi4]\narm_freq=2000\n[all]\nkernel=vmlinuz-6.12\ninitramfs initrd.img-6.12 followkernel\n"
CMDLINE = b"console=tty0 root=PARTUUID=deadbeef-02 rootwait\n"
HOSTNAME = b"node-003\n"


def tiny_base() -> Base:
    """Raspberry Pi OS with the volumes of the tiny image."""
    shipped = Project(Path(__file__).parents[1]).base("raspios-trixie")
    boot = shipped.boot.model_copy(update={"start": BOOT_START, "size": BOOT_SIZE})
    root = shipped.root.model_copy(update={"start": ROOT_START})
    return shipped.model_copy(update={"boot": boot, "root": root})


def make_image(path: Path, system: Path | None = None) -> Manifest:
    """The root volume holds the folder `system`, else what the manifest says."""
    partition(
        path,
        f"start={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=c",
        f"start={ROOT_START // 512}, size={ROOT_SIZE // 512}, type=83",
    )
    _fill_boot(path)
    if system is None:
        _fill_root(path)
    else:
        options = f"offset={ROOT_START},root_owner=0:0"
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", options, "-d", system, path, f"{ROOT_SIZE // 1024}k"])
    return manifest_of(path)


def manifest_of(path: Path) -> Manifest:
    chunks = tuple(digests(path))
    return Manifest(
        node="node-003",
        image=ImageFacts(
            size=path.stat().st_size,
            chunk_size=CHUNK_SIZE,
            digest=image_digest(chunks),
            chunks=chunks,
            allocated=((0, path.stat().st_size // 4096 * 4096),),
        ),
        layout=DiskFacts(
            boot_start=BOOT_START,
            boot_size=BOOT_SIZE,
            root_start=ROOT_START,
            root_size=ROOT_SIZE,
            disk_id=f"0x{DISK_ID:08x}",
        ),
        files=(
            _file("boot", "/config.txt", CONFIG, mode=0o600, uid=1000, gid=1000),
            _file("boot", "/cmdline.txt", CMDLINE),
            _file("root", "/etc/hostname", HOSTNAME),
            _file("root", "/etc/secret", b"s3cret\n", mode=0o640, gid=900),
            FileState(
                volume="root", path="/etc/localtime", type="link", target="/usr/UTC", feature="time", origin="a.yaml:1"
            ),
            FileState(
                volume="root", path="/srv", type="dir", mode=0o750, uid=900, gid=900, feature="guest", origin="g.yaml:1"
            ),
            FileState(volume="root", path="/etc/gone", type="absent", feature="access", origin="a.yaml:2"),
            FileState(volume="root", path="/no/such/directory", type="absent", feature="access", origin="a.yaml:3"),
        ),
        plan={},
        lock={},
    )


def debugfs(path: Path, *commands: str) -> None:
    """Edit the root volume without a mount. debugfs exits 0 whatever happens, so it must be silent on stderr."""
    script = "".join(f"{command}\n" for command in commands)
    result = run(["debugfs", "-w", "-f", "-", f"{path}?offset={ROOT_START}"], input=script.encode())
    assert [line for line in result.stderr.decode().splitlines() if not line.startswith("debugfs ")] == []


def flip(path: Path, text: bytes) -> None:
    """Flip one bit of the first occurrence of `text` in the image."""
    data = bytearray(path.read_bytes())
    data[data.index(text)] ^= 1
    path.write_bytes(data)


def _file(volume: str, path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> FileState:
    return FileState.model_validate(
        {
            "volume": volume,
            "path": path,
            "type": "file",
            "mode": mode,
            "uid": uid,
            "gid": gid,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "feature": "identity",
            "origin": "profiles/cluster.yaml:1",
        }
    )


def partition(path: Path, *rows: str) -> None:
    """An empty disk of the size of the others, with rows of a dos table in the words of sfdisk(8)."""
    with path.open("wb") as file:
        file.truncate(ROOT_START + ROOT_SIZE + MIB)
    table = "\n".join(("label: dos", f"label-id: 0x{DISK_ID:08x}", *rows))
    run(["sfdisk", "--quiet", path], input=table.encode())


def _fill_boot(path: Path) -> None:
    volume = path.with_suffix(".fat")
    volume.write_bytes(bytes(BOOT_SIZE))
    run(["mkfs.fat", "--invariant", "-i", "12345678", "-n", "BOOTFS", volume])
    files = {"config.txt": CONFIG, "cmdline.txt": CMDLINE, "vmlinuz-6.12": b"kernel", "initrd.img-6.12": b"initrd"}
    for name, content in files.items():
        run(["mcopy", "-i", volume, "-", f"::{name}"], input=content)
    with path.open("r+b") as file:
        file.seek(BOOT_START)
        file.write(volume.read_bytes())
    volume.unlink()


def _fill_root(path: Path) -> None:
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={ROOT_START}", path, f"{ROOT_SIZE // 1024}k"])
    content = path.with_suffix(".content")
    commands = ["mkdir etc", "mkdir srv", "sif srv mode 040750", "sif srv uid 900", "sif srv gid 900"]
    for name, text, mode, gid in (("hostname", HOSTNAME, "0100644", 0), ("secret", b"s3cret\n", "0100640", 900)):
        source = content.with_suffix(f".{name}")
        source.write_bytes(text)
        commands += [f"write {source} etc/{name}", f"sif etc/{name} mode {mode}", f"sif etc/{name} gid {gid}"]
    debugfs(path, *commands, "symlink etc/localtime /usr/UTC")


SILENT = Silent()
