"""Find out whether this machine can build, verify and boot images: look for tools, and try namespaces, KVM and
others."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.version import VERSION_PATTERN, Version

from builder.bake import binfmt
from builder.errors import MissingToolError, PimuError
from builder.host import tools
from builder.host.run import run, which
from builder.host.sandbox import (
    BOUNDARY_REMEDY,
    MAPPING_REMEDY,
    TRUST_REMEDY,
    boundary_refusal,
    mapping_refusal,
    refusal,
    subordinate_ids,
    user_name,
)
from builder.limits import GIB
from builder.machines.appliance import appliance_kernel, kvm_usable

State = Literal["ok", "missing", "slow"]

_SETUP = "make setup, or apt-get install"
_CACHE_SPACE = 10 * GIB
_OUTPUT_SPACE = 4 * GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding. With `missing` something does not work; with `slow` it works slowly. `remedy` is empty for `ok`."""

    name: str
    state: State
    found: str
    needed: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """Programs of one Debian package. The first program is asked for the version."""

    programs: tuple[str, ...]
    package: str
    why: str
    option: str = "--version"
    minimum: str = ""


E2FSPROGS = Tool(
    ("mke2fs", "debugfs", "e2fsck", "e2image", "resize2fs"),
    "e2fsprogs",
    "the root volume; older ones write the time of day into it (Debian 12 has 1.47.2 in bookworm-backports)",
    option="-V",
    minimum="1.47.1",
)
TOOLS = (
    E2FSPROGS,
    Tool(("mkfs.fat", "fsck.fat"), "dosfstools", "the boot volume", option="--help"),
    Tool(("mcopy", "mmd", "mdel", "mattrib", "mtype"), "mtools", "files on the boot volume, without a mount"),
    Tool(("sfdisk",), "fdisk", "the partition table"),
    Tool(("dpkg", "dpkg-deb"), "dpkg", "unpacks packages for the Pi at native speed", minimum="1.21"),
    Tool(("apt-get",), "apt", "resolves packages, checks the archive's signature"),
    Tool(("gpgv",), "gpgv", "checks signatures"),
    Tool(("unshare", "setpriv"), "util-linux", "the sandbox that packages are configured in"),
    Tool(("lsblk", "wipefs", "prlimit"), "util-linux", "flash: what is on which disk", minimum="2.37"),
    Tool(("bwrap",), "bubblewrap", "the boundary around packages: they see nothing else of the host", minimum="0.5"),
    Tool(("keyctl",), "keyutils", "the kernel's keys of the person who builds stay outside of it", option="--version"),
    Tool(("mount", "umount"), "mount", "the sandbox's overlay, in a namespace of its own"),
    Tool(("cp",), "coreutils", "copies the golden image, sparse"),
    Tool(("qemu-img",), "qemu-utils", "the guest's disk"),
    Tool(("qemu-system-x86_64",), "qemu-system-x86", "libguestfs's appliance, and the installer of an Alpine guest"),
    Tool(("xorriso",), "xorriso", "reads the ISO of an Alpine guest"),
    Tool(("cpio",), "cpio", "gives files to the live system of that ISO"),
    Tool(("qemu-system-aarch64",), "qemu-system-arm", "boot: a Pi that is not there"),
    Tool(("nsenter",), "util-linux", "boot, and an Alpine guest's installer: a network of their own"),
    Tool(("ip",), "iproute2", "the addresses in that network", option="-V"),
    Tool(("ssh", "ssh-keygen"), "openssh-client", "boot --check logs in", option="-V"),
)  # fmt: skip

ROOTLESS = Tool(("newuidmap", "newgidmap"), "uidmap", "builds without root", option="--help")


def examine(cache: Path, output: Path) -> tuple[Finding, ...]:
    """Findings about the host. Nothing is changed. It takes a second or two."""
    rootless = os.geteuid() != 0
    tools = (*TOOLS, ROOTLESS) if rootless else TOOLS
    return (
        *(_tool(tool) for tool in tools),
        _libarchive(),
        _foreign_programs(),
        _namespaces(),
        *((*_subordinate_ids(), *_mapping()) if rootless else ()),
        *_boundary(),
        _guestfs(),
        _appliance_kernel(),
        _kvm(),
        _space("free space, cache", cache, _CACHE_SPACE, "downloads, layers and golden images"),
        _space("free space, output", output, _OUTPUT_SPACE, "finished images"),
    )


def require_mke2fs() -> None:
    """Raises MissingToolError for an old mke2fs or a missing libarchive, before minutes of baking."""
    for finding in (_tool(E2FSPROGS), _libarchive()):
        if finding.state == "missing":
            raise MissingToolError(f"{finding.name} {finding.found}, needed is {finding.needed}", hint=finding.remedy)


def _tool(tool: Tool) -> Finding:
    needed = f">= {tool.minimum}" if tool.minimum else "any"
    remedy = f"{_SETUP} {tool.package}"
    absent = [program for program in tool.programs if which(program) is None]
    if absent:
        return Finding(tool.package, "missing", f"no {' '.join(absent)}", needed, tool.why, remedy)
    version = tools.version(tool.programs[0], tool.option)
    if tool.minimum and _leading(version) < Version(tool.minimum):
        return Finding(tool.package, "missing", version, needed, tool.why, remedy)
    return Finding(tool.package, "ok", version, needed, tool.why)


def _leading(text: str) -> Version:
    """The version at the beginning of a text: 1.22.6 for `1.22.6ubuntu6`, and 0 if there is none."""
    found = re.match(VERSION_PATTERN, text, re.VERBOSE | re.IGNORECASE)
    return Version(found[0] if found else "0")


def _libarchive() -> Finding:
    why = "mke2fs reads the root volume's tar with it"
    try:
        ctypes.CDLL("libarchive.so.13")
    except OSError:
        remedy = f"{_SETUP} libarchive13 (Debian 12) or libarchive13t64 (Debian 13)"
        return Finding("libarchive", "missing", "no libarchive.so.13", "libarchive.so.13", why, remedy)
    return Finding("libarchive", "ok", "libarchive.so.13", "libarchive.so.13", why)


def _foreign_programs() -> Finding:
    why = "the few programs of foreign packages, the Pi's or its guest's, that must run while they are configured"
    foreign = "amd64" if binfmt.host_architecture() == "arm64" else "arm64"
    rule, needed = binfmt.rule(foreign), f"a rule for {foreign}"
    if not rule.exists():
        remedy = f"{_SETUP} qemu-user-static (Debian 12) or qemu-user-binfmt (Debian 13)"
        return Finding("qemu-user", "missing", f"no {rule}", needed, why, remedy)
    if Path("/proc/sys/fs/binfmt_misc", rule.stem).exists():
        return Finding("qemu-user", "ok", "registered", needed, why)
    where = "--user --map-root-user --mount" if os.geteuid() else "--mount"
    # Since Linux 6.7 every user namespace has its own binfmt_misc. On older kernels only root can mount it.
    mounting = ["mount", "-t", "binfmt_misc", "binfmt_misc", "/proc/sys/fs/binfmt_misc"]
    if run(["unshare", *where.split(), *mounting], check=False).returncode == 0:
        return Finding("qemu-user", "ok", "registered when needed", needed, why)
    remedy = "as root: systemctl restart systemd-binfmt, or build with sudo"
    return Finding("qemu-user", "missing", "not registered, kernel < 6.7", "a registered rule", why, remedy)


def _namespaces() -> Finding:
    why = "packages are configured without network, mounts of the host and other processes in sight"
    if refused := refusal():
        return Finding("namespaces", "missing", refused, "mount, pid, net, ipc, uts", why, TRUST_REMEDY)
    return Finding("namespaces", "ok", "tried, they work", "mount, pid, net, ipc, uts", why)


def _subordinate_ids() -> Iterator[Finding]:
    user = user_name()
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        why = "the Pi's own users, when root does not build"
        if found := subordinate_ids(file):
            yield Finding(file.name, "ok", found, "65536 ids", why)
        else:
            remedy = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            yield Finding(file.name, "missing", f"no line for {user}", "65536 ids", why, remedy)


def _mapping() -> Iterator[Finding]:
    """No finding when namespaces, ids or newuidmap are missing: other findings already say so."""
    why = "the same, in the namespace that packages are configured in"
    with contextlib.suppress(MissingToolError):
        if refusal():
            return
        if refused := mapping_refusal():
            yield Finding("newuidmap", "missing", refused, "maps the ids", why, MAPPING_REMEDY)
        else:
            yield Finding("newuidmap", "ok", "tried, it maps them", "maps the ids", why)


def _boundary() -> Iterator[Finding]:
    """No finding when other findings already say why the boundary cannot be tried."""
    name, why = "boundary", "no package's script can read or change this machine, root or not"
    if which("bwrap") is None or refusal():
        return
    try:
        if mapping_refusal():
            return
        refused, remedy = boundary_refusal(), BOUNDARY_REMEDY
    except MissingToolError as absent:
        refused, remedy = absent.message, absent.hint
    needed = "a user namespace without your own id"
    if refused:
        yield Finding(name, "missing", refused, needed, why, remedy)
    else:
        yield Finding(name, "ok", "tried, it holds", needed, why)


def _guestfs() -> Finding:
    why = "imports published images, verify"
    if importlib.util.find_spec("guestfs") is None:
        remedy = f"{_SETUP} python3-guestfs (and a venv with --system-site-packages)"
        return Finding("python guestfs", "missing", "cannot be imported", "any", why, remedy)
    return Finding("python guestfs", "ok", "can be imported", "any", why)


def _appliance_kernel() -> Finding:
    name, why = "kernel for libguestfs", "the appliance boots it; it need not be the kernel that runs"
    try:
        return Finding(name, "ok", appliance_kernel().name, "readable, with modules", why)
    except PimuError as absent:
        return Finding(name, "missing", absent.message, "readable, with modules", why, absent.hint)


def _kvm() -> Finding:
    why = "verify takes 15 s more without it, an installed guest minutes"
    if kvm_usable():
        return Finding("KVM", "ok", "tried, it works", "wanted", why)
    if not Path("/dev/kvm").exists():
        return Finding("KVM", "slow", "no /dev/kvm", "wanted", why, "enable virtualisation in the firmware, if you can")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding("KVM", "slow", "/dev/kvm is closed to you", "wanted", why, "sudo adduser $USER kvm")
    return Finding("KVM", "slow", "/dev/kvm is there, QEMU fails on it", "wanted", why, "nothing: emulation is used")


def _space(name: str, folder: Path, needed: int, why: str) -> Finding:
    wanted = f"{needed / GIB:.0f} GiB"
    try:
        present = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(present).free
    except PermissionError as refused:
        remedy = f"make {folder} yours, or name another folder (PIMU_CACHE, --output)"
        return Finding(name, "missing", f"{folder}: {refused.strerror}", wanted, why, remedy)
    state: State = "ok" if free >= needed else "missing"
    remedy = "" if state == "ok" else f"make room in {present}"
    return Finding(name, state, f"{free / GIB:.0f} GiB", wanted, why, remedy)
