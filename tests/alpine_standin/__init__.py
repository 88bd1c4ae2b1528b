"""A stand-in for Alpine's virt ISO, of Debian's kernel and busybox: its layout, its boot, its installer's manners.

Shell scripts beside this file do what mkinitfs, OpenRC, apk and alpine-conf do with what a build gives them;
`tests/alpine_conf/setup-alpine` hands the answers on. Packages are tars on a web server of the test's.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.fs.tree import Entry, Tree
from builder.host.run import run, which
from builder.machines.appliance import appliance_kernel
from tests.loopback import Site

FILES = Path(__file__).parent
SETUP_ALPINE = FILES.parent / "alpine_conf/setup-alpine"
GATEWAY = "10.0.2.2"
"""The test's host, as QEMU's own network has it."""
_MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "evdev", "button"),
    *("isofs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"),
)
_HELPERS = (
    *("apkcache", "apkrepos", "devd", "dns", "hostname", "interfaces", "keymap"),
    *("lbu", "ntp", "proxy", "sshd", "timezone", "user"),
)
_LIVE = ("busybox", "sfdisk", "mke2fs", "extlinux", "ssh-keygen")
_SYSTEM = ("busybox", "ssh-keygen")
_PACKAGES = {
    "chrony": "etc/init.d/chronyd",
    "doas": "usr/bin/doas",
    "e2fsprogs": "",
    "openssh": "",
    "sfdisk": "",
    "syslinux": "",
    "tiny-cloud-nocloud": " ".join(f"etc/init.d/tiny-cloud-{phase}" for phase in ("boot", "early", "main", "final")),
}


@dataclass(frozen=True)
class Ingredients:
    kernel: bytes
    initramfs: bytes


def make_iso(iso: Path, work: Path, *, conf: int = 320, hangs: bool = False, kernel: bytes | None = None) -> None:
    """`conf` is alpine-conf's version without its point; `hangs` makes an installer that never ends; `kernel` is one
    instead of this host's."""
    parts = ingredients(work)
    tree = work / "iso"
    (tree / "boot").mkdir(parents=True)
    (tree / "apks/x86_64").mkdir(parents=True)
    (tree / "boot/vmlinuz-virt").write_bytes(kernel or parts.kernel)
    (tree / "boot/initramfs-virt").write_bytes(parts.initramfs)
    (tree / "apks/.boot_repository").touch()
    (tree / "apks/x86_64/live.tar.gz").write_bytes(_packed(_live(conf, hangs), work))
    run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "alpine-virt 3.22.6 x86_64", "-J", "-r", "-o", iso, tree])
    shutil.rmtree(tree)


def fill_mirror(site: Site, branch: str, work: Path) -> str:
    """Put the packages of a branch (`v3.22`) onto the server; its mirror's address, as this host has it."""
    parts = ingredients(work)
    linux = {"boot/vmlinuz-virt": parts.kernel, "boot/initramfs-virt": parts.initramfs}
    trees = {"alpine-base": _base(), "linux-virt": _tree(linux), "curl": _programs(("curl",))}
    for name, files in _PACKAGES.items():
        trees[name] = _tree(dict.fromkeys(files.split(), b"#!/sbin/openrc-run\n"))
    for name, tree in trees.items():
        site.pages[f"/alpine/{branch}/main/x86_64/{name}.apk"] = _packed(tree, work)
    return f"{site.url}/alpine"


def cloud_tree(parts: Ingredients) -> Tree:
    """The content of a cloud image: an installed system on a disk without partitions."""
    tree = _base()
    for files in _PACKAGES.values():
        for path in files.split():
            _add(tree, path, b"#!/sbin/openrc-run\n")
    _add(tree, "boot/vmlinuz-virt", parts.kernel)
    _add(tree, "boot/initramfs-virt", parts.initramfs)
    _add(tree, "boot/ldlinux.sys", b"")
    _add(tree, "boot/extlinux.conf", b"DEFAULT virt\nLABEL virt\n  APPEND root=LABEL=/ modules=ext4 quiet\n")
    _add(tree, "etc/fstab", b"LABEL=/ / ext4 defaults,noatime 1 1\n")
    _add(tree, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nalpine:x:1000:1000::/home/alpine:/bin/sh\n")
    _add(tree, "etc/group", b"root:x:0:\nalpine:x:1000:\n")
    _add(tree, "etc/shadow", b"root:!:20000:0:::::\nalpine:*:20000:0:::::\n")
    _add(tree, "etc/inittab", b"tty1::respawn:/sbin/getty 38400 tty1\n")
    _add(tree, "etc/init.d/networking", b"#!/sbin/openrc-run\n")
    _link(tree, "etc/runlevels/boot/networking", "/etc/init.d/networking")
    return tree


def ingredients(work: Path) -> Ingredients:
    """The host's kernel, with an initramfs that has its modules."""
    kernel, folder = appliance_kernel(), work / "initramfs"
    if not folder.exists():
        _write_initramfs(folder, kernel.name.partition("-")[2])
    names = "".join(f"{path.relative_to(folder)}\n" for path in sorted(folder.rglob("*"))).encode()
    archive = run(["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"], input=names, cwd=folder).stdout
    return Ingredients(kernel.read_bytes(), gzip.compress(archive, 1, mtime=0))


def _write_initramfs(folder: Path, version: str) -> None:
    modules: dict[str, Path] = {}
    for name in _MODULES:
        told = run(["modprobe", "--set-version", version, "--show-depends", name]).text
        modules |= {Path(path).name: Path(path) for path in re.findall(r"^insmod (\S+)", told, re.MULTILINE)}
    (folder / "modules").mkdir(parents=True)
    for name, module in modules.items():
        shutil.copy(module, folder / "modules" / name)
    (folder / "modules/order").write_text("".join(f"{name}\n" for name in modules))
    for path, entry in _programs(("busybox",)).files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(entry.read())
        target.chmod(entry.mode)
    (folder / "bin/sh").symlink_to("busybox")
    shutil.copy(FILES / "initramfs/init", folder / "init")
    (folder / "init").chmod(0o755)


def _live(conf: int, hangs: bool) -> Tree:
    tree = _programs(_LIVE)
    _add_folder(tree, FILES / "live")
    for name in ("openrc", "openrc-run"):
        _add(tree, f"sbin/{name}", (FILES / f"system/sbin/{name}").read_bytes())
    for name in _HELPERS:
        _link(tree, f"sbin/setup-{name}", "helper")
    _add(tree, "usr/lib/alpine-conf/setup-alpine", SETUP_ALPINE.read_bytes())
    _add(tree, "usr/share/syslinux/mbr.bin", Path("/usr/lib/EXTLINUX/mbr.bin").read_bytes())
    _add(tree, "etc/mke2fs.conf", Path("/etc/mke2fs.conf").read_bytes())
    _add(tree, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    _add(tree, "etc/group", b"root:x:0:\n")
    _add(tree, "etc/shadow", b"root::20000:0:::::\n")
    _add(tree, "etc/alpine-conf", f"{conf}\n".encode())
    if hangs:
        _add(tree, "etc/standin-hangs", b"")
    _make_folders(tree)
    return tree


def _base() -> Tree:
    """alpine-base: what every installed system has."""
    tree = _programs(_SYSTEM)
    _add_folder(tree, FILES / "system")
    for name in ("adduser", "addgroup", "deluser", "delgroup", "chpasswd"):
        _link(tree, f"usr/sbin/{name}", "../../sbin/account")
    _add(tree, "etc/acpi/PWRF/00000080", b"#!/bin/sh\npoweroff\n")
    _add(tree, "usr/share/udhcpc/default.script", (FILES / "live/usr/share/udhcpc/default.script").read_bytes())
    # Debian's busybox looks for it there.
    _put(tree, "etc/udhcpc/default.script", tree.entries["usr/share/udhcpc/default.script"])
    _make_folders(tree)
    return tree


def _make_folders(tree: Tree) -> None:
    for name in (
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "mnt",
        "root",
        "home",
        "var/lib",
        "etc/apk",
        "etc/ssh",
        "etc/doas.d",
    ):
        if name not in tree.entries:
            _put(tree, name, Entry("dir", 0o755))


def _programs(names: Iterable[str]) -> Tree:
    """Programs of this host with the libraries that they need, and busybox's many names."""
    tree = Tree(0)
    for name in names:
        program = which(name)
        assert program is not None, f"{name} is not installed"
        _add(tree, f"bin/{name}", Path(program).read_bytes())
        for library in re.findall(r"(/\S+) \(0x", run(["ldd", program]).text):
            _add(tree, library.lstrip("/"), Path(library).read_bytes())
    if "busybox" in names:
        for name in run(["busybox", "--list"]).text.split():
            if f"bin/{name}" not in tree.entries:
                _link(tree, f"bin/{name}", "busybox")
        _link(tree, "sbin/init", "../bin/busybox")
        _link(tree, "sbin/getty", "../bin/busybox")
        _link(tree, "usr/bin/busybox", "../../bin/busybox")
    return tree


def _tree(files: Mapping[str, bytes]) -> Tree:
    tree = Tree(0)
    for path, content in files.items():
        _add(tree, path, content)
    return tree


def _add_folder(tree: Tree, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _add(tree, str(path.relative_to(folder)), path.read_bytes())


def _add(tree: Tree, path: str, content: bytes) -> None:
    _put(tree, path, Entry.of_bytes(content, 0, 0o755))


def _link(tree: Tree, path: str, target: str) -> None:
    _put(tree, path, Entry("link", 0o777, target=target))


def _put(tree: Tree, path: str, entry: Entry) -> None:
    for parent in tree.missing_parents(path):
        tree.entries[parent] = Entry("dir", 0o755)
    tree.entries[path] = entry


def _packed(tree: Tree, work: Path) -> bytes:
    tar = work / "package.tar"
    tree.write_tar(tar)
    return gzip.compress(tar.read_bytes(), 1, mtime=0)
