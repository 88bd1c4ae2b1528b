"""Stand-ins for Raspberry Pi OS images: real Debian arm64 packages of the same suite, in the layout of the published
ones, with their kernel command line, first user, growth, swap and services (pi-gen; raspberrypi-sys-mods, userconf-pi).

They boot by Debian's kernel, have no Raspberry Pi archive in their sources, and nothing of its software but what is
here as a script or unit that would be noticed if it ran: a growth script that kills the boot, for one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from builder.base.layers import Layers
from builder.fetch import Cache
from builder.fs import ext4, fat, mbr
from builder.fs.tree import Entry, Tree
from builder.host.run import run
from builder.lock.lock_file import LOCK_FILE
from builder.lock.resolve import Resolver
from builder.model.edits import Symlink, WriteFile
from builder.model.layer import ROOT_TAR
from builder.model.progress import Progress, Silent
from builder.model.settings import Base
from builder.plan import make_plan
from builder.project import Project
from builder.store import upkeep
from builder.store.closure import closure
from builder.store.products import Store
from builder.store.step import Step
from builder.template.strict import render
from tests.conftest import SHIPPED, copy_shipped

FILES = Path(__file__).parent
DISK_ID = 0xCB15AE4D
MIB = 1 << 20

_SHARES = {"bookworm": ("older",), "bullseye": ("older",)}
"""Folders of files here that a suite has beside `all` and its own."""
_CODE = (
    ("builder.bake", "_bake"),
    ("builder.fs.ext4", "make"),
    ("builder.fs.fat", "fill"),
    ("builder.fs.tree", "Tree"),
)
_LEAVES = {"raspi-firmware"}
_ADDS = {
    "trixie": ("cron", "man-db", "cloud-init", "parted"),
    "bookworm": ("cron", "man-db", "usr-is-merged", "dphys-swapfile", "parted"),
    "bullseye": ("cron", "man-db", "dphys-swapfile", "parted", "dhcpcd5"),
}
_GROUPS = ("adm", "dialout", "cdrom", "sudo", "audio", "video", "plugdev", "games", "users", "input", "netdev")
_OWN_GROUPS = {"spi": 989, "i2c": 988, "gpio": 986}
_CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID={id:08x}-02 rootfstype=ext4 fsck.repair=yes rootwait{more}\n"
)
_MORE = {
    "trixie": " resize",
    "bookworm": " quiet init=/usr/lib/raspberrypi-sys-mods/firstboot",
    "bullseye": " quiet init=/usr/lib/raspberrypi-sys-mods/firstboot",
}


def packed_image(suite: str) -> Path:
    """The stand-in as it would be published, from the user's cache where it is there."""
    real = os.environ.get("PIMU_RASPIOS_IMG")
    if real and suite == os.environ.get("PIMU_RASPIOS_SUITE", "trixie"):
        return Path(real)

    def make(fresh: Path) -> None:
        work = fresh / "work"
        work.mkdir()
        make_image(suite, work / "standin.img", work, Silent())
        run(["xz", "-T2", "-0", "--block-size=24MiB", "--keep", work / "standin.img"])
        (work / "standin.img.xz").rename(fresh / "standin.img.xz")
        shutil.rmtree(work)

    files = {
        str(path.relative_to(FILES)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(FILES.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    lock = SHIPPED / LOCK_FILE
    inputs = {
        "suite": suite,
        "files": files,
        "code": {f"{module}.{name}": closure(module, name, upkeep.default_root()).digest for module, name in _CODE},
        "lock": lock.read_text() if lock.exists() else "",
    }
    store = Store(upkeep.default_root())
    return store.make(Step("standins", suite, inputs), make).folder / "standin.img.xz"


def make_image(suite: str, image: Path, work: Path, progress: Progress) -> None:
    """Write the raw image of a suite's stand-in."""
    base = Project(SHIPPED).base(f"raspios-{suite}")
    layer, epoch = _system(suite, work, progress)
    root, boot = Tree.of_layers([layer / ROOT_TAR], epoch), Tree(epoch)
    _shape(root, suite, base)
    _fill_boot(boot, root, suite)
    _write(image, base, root, boot, work)


def _system(suite: str, work: Path, progress: Progress) -> tuple[Path, int]:
    """The layer of Debian's packages, from the user's cache where it is there."""
    project = copy_shipped(work / "project")
    text = (project / "profiles/bases/debian-trixie.yaml").read_text().replace("trixie", suite)
    if suite == "bullseye":  # mirrors have begun to drop what its security archive, which is closed, still lists
        text = re.sub(r"    - uri: http://security\..*\n(?:      .*\n)+", "", text)
        text = text.replace("[main, non-free-firmware]", "[main]")
    lines = [line for line in text.splitlines() if line.partition("#")[0].strip(" -") not in _LEAVES]
    at = next(number for number, line in enumerate(lines) if line.strip() == "packages:")
    lines[at + 1 : at + 1] = [f"    - {name}" for name in _ADDS[suite]]
    name = f"standin-{suite}"
    (project / f"profiles/bases/{name}.yaml").write_text(
        "\n".join(lines).replace("firmware: raspi-firmware", "firmware: static")
    )
    root = upkeep.default_root()
    lock = SHIPPED / LOCK_FILE
    if lock.exists():
        shutil.copy(lock, work / LOCK_FILE)
    resolver = Resolver(work / LOCK_FILE, Cache(root), Store(root), progress, offline=False)
    opened = Project(project)
    plan = make_plan(opened.settings("node-001", "server", name), opened.overlays, opened.seed, render=render)
    made = Layers(resolver, Cache(root), Store(root), progress).base(plan)
    return made.layer.folder, made.epoch


def _shape(root: Tree, suite: str, base: Base) -> None:
    for folder in (FILES / name for name in ("all", *_SHARES.get(suite, ()), suite)):
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                _link(root, "/" + str(path.relative_to(folder)), str(path.readlink()))
            elif path.is_file():
                mode = 0o755 if path.read_bytes().startswith(b"#!") else 0o644
                _put(root, "/" + str(path.relative_to(folder)), path.read_bytes(), mode)
    _put(root, "/etc/machine-id", b"uninitialized\n" if base.machine_id == "uninitialized" else b"", 0o444)
    fstab = (
        "proc            /proc           proc    defaults          0       0\n"
        f"PARTUUID={DISK_ID:08x}-01  {base.boot.mount}  vfat    defaults          0       2\n"
        f"PARTUUID={DISK_ID:08x}-02  /               ext4    defaults,noatime  0       1\n"
    )
    _put(root, "/etc/fstab", fstab.encode())
    root.entries.pop("etc/systemd/system/getty.target.wants/getty@tty1.service", None)
    root.entries.pop("etc/initramfs-tools/conf.d/pimu", None)
    _for_the_machine_that_makes_it(root)
    _require_foreign_owners(root)
    if suite != "trixie":
        root.entries.pop("etc/apt/sources.list.d/debian.sources", None)
    _first_user(root, suite)


def _for_the_machine_that_makes_it(root: Tree) -> None:
    """pi-gen, export-image/05-finalise/01-run.sh: no initrd can be made of this where there is no /sys."""
    path = "etc/initramfs-tools/initramfs.conf"
    old = root.entries[path].read().decode()
    new = re.sub("^MODULES=.*", "MODULES=dep", old, flags=re.MULTILINE)
    assert new != old
    _replace(root, path, new)


def _require_foreign_owners(root: Tree) -> None:
    """cron and dbus give programs to groups that a build host may lack, and the published images have both."""
    overrides = root.entries["var/lib/dpkg/statoverride"].read().decode()
    assert {"crontab", "messagebus"} <= {line.split()[1] for line in overrides.splitlines()}, overrides


def _first_user(root: Tree, suite: str) -> None:
    shell = "/usr/sbin/nologin" if suite == "trixie" else "/bin/bash"
    _add_line(root, "etc/passwd", f"pi:x:1000:1000:,,,:/home/pi:{shell}")
    _add_line(root, "etc/shadow", "pi:!:20000:0:99999:7:::")
    for database, more in (("group", ""), ("gshadow", "!")):
        entry = root.entries[f"etc/{database}"]
        lines = entry.read().decode().splitlines()
        lines = [
            f"{line}{',' * (not line.endswith(':'))}pi" if line.split(":")[0] in _GROUPS else line for line in lines
        ]
        for name, number in {"pi": 1000, **_OWN_GROUPS}.items():
            member = "" if name == "pi" else "pi"
            lines.append(f"{name}:!::{member}" if more else f"{name}:x:{number}:{member}")
        _replace(root, f"etc/{database}", "\n".join(lines) + "\n")
    for database in ("subuid", "subgid"):
        _put(root, f"/etc/{database}", b"pi:100000:65536\n")
    root.entries["home/pi"] = Entry("dir", 0o700, 1000, 1000, root.epoch)
    for name in (".bashrc", ".profile"):
        skeleton = root.get(f"etc/skel/{name}")
        assert skeleton is not None
        root.entries[f"home/pi/{name}"] = replace(skeleton, uid=1000, gid=1000)


def _fill_boot(boot: Tree, root: Tree, suite: str) -> None:
    """Debian's kernel and initrd under the names that the firmware looks for."""
    for path, entry in list(root.entries.items()):
        name = path.rpartition("/")[2]
        if path.startswith("boot/vmlinuz-"):
            boot.entries["kernel8.img"] = entry
        elif path.startswith("boot/initrd.img-"):
            boot.entries["initramfs8"] = entry
        elif name == "bcm2711-rpi-4-b.dtb":
            boot.entries[name] = entry
    config = (FILES / "config.txt").read_bytes()
    if suite == "bullseye":  # its firmware is told of an initrd in the old way; the published image has none
        config = config.replace(b"auto_initramfs=1", b"initramfs initramfs8 followkernel")
    cmdline = _CMDLINE.format(id=DISK_ID, more=_MORE[suite])
    for name, content in (("config.txt", config), ("cmdline.txt", cmdline.encode())):
        boot.entries[name] = Entry.of_bytes(content, boot.epoch)


def _write(image: Path, base: Base, root: Tree, boot: Tree, work: Path) -> None:
    size = -(-(ext4.needed_size(root, 300 * MIB)) // (8 * MIB)) * (8 * MIB)
    mbr.sparse(image, base.root.start + size)
    partitions = [(base.boot.start, base.boot.size, mbr.FAT32_LBA), (base.root.start, size, mbr.LINUX)]
    mbr.write(image, disk_id=DISK_ID, partitions=partitions)
    tar = work / "root.tar"
    root.write_tar(tar)
    ext4.make(
        image,
        tar,
        start=base.root.start,
        size=size,
        label="rootfs",
        uuid="56f80fa2-e005-4cca-86e6-19da1069914d",
        hash_seed="56f80fa2-e005-4cca-86e6-19da1069914e",
        features=base.root.features,
        epoch=root.epoch,
    )
    tar.unlink()
    fat.make(
        image,
        start=base.boot.start,
        size=base.boot.size,
        label="bootfs",
        volume_id=0x5DE4665A,
        sectors_per_cluster=base.boot.sectors_per_cluster,
        fat=32,
    )
    stage = work / "stage"
    stage.mkdir()
    fat.fill(image, base.boot.start, boot, stage)


def _put(root: Tree, path: str, content: bytes, mode: int = 0o644) -> None:
    edit = WriteFile(
        volume="root",
        path=path,
        scope="golden",
        feature="standin",
        origin="tests",
        content=content,
        mode=mode,
        uid=0,
        gid=0,
    )
    root.apply(edit, {})


def _link(root: Tree, path: str, target: str) -> None:
    root.apply(Symlink(volume="root", path=path, scope="golden", feature="standin", origin="tests", target=target), {})


def _replace(root: Tree, path: str, text: str) -> None:
    old = root.entries[path]
    root.entries[path] = Entry.of_bytes(text.encode(), root.epoch, old.mode, old.uid, old.gid)


def _add_line(root: Tree, path: str, line: str) -> None:
    _replace(root, path, f"{root.entries[path].read().decode()}{line}\n")
