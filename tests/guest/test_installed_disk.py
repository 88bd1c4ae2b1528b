"""The disk of an installer is looked at: an error names files that are missing, and files that should not be there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.fs import ext4
from builder.fs.tree import Entry, Tree
from builder.fs.volumes import Ext4, System
from builder.guest import checks
from builder.host.run import run
from builder.model.plan import GuestDisk
from tests.alpine_standin import Ingredients, cloud_tree
from tests.conftest import PUBLIC_KEY
from tests.planned import plan_of

pytestmark = pytest.mark.disk

MIB = 1024**2
TABLE = "label: dos\nstart=2048, size=131072, type=83, bootable\nstart=133120, size=409600, type=83\n"
Change = Callable[["Trees"], object]


@dataclass(frozen=True)
class Trees:
    boot: Tree
    root: Tree


def installed() -> Trees:
    boot, root = Tree(0), cloud_tree(Ingredients(b"a kernel", b"its initramfs"))
    for name in ("vmlinuz-virt", "initramfs-virt", "ldlinux.sys"):
        boot.entries[name] = Entry.of_bytes(b"", 0)
    boot.entries["extlinux.conf"] = Entry.of_bytes(b"APPEND root=UUID=1 console=ttyS0,115200 rootfstype=ext4\n", 0)
    root.entries["etc/fstab"] = Entry.of_bytes(b"UUID=1\t/\text4\trw,relatime 0 1\n", 0)
    root.entries["etc/pimu-installed"] = Entry.of_bytes(b"3.22.6\n", 0)
    root.entries["etc/ssh/ssh_host_rsa_key"] = Entry.of_bytes(b"shared by all", 0)
    root.entries["root/.ssh"] = Entry("dir", 0o700)
    root.entries["root/.ssh/authorized_keys"] = Entry.of_bytes(f"{PUBLIC_KEY}\n".encode(), 0)
    return Trees(boot, root)


def write_disk(trees: Trees, folder: Path, table: str = TABLE) -> Path:
    raw, tar = folder / "disk.raw", folder / "tree.tar"
    with raw.open("wb") as file:
        file.truncate(300 * MIB)
    run(["sfdisk", "--quiet", raw], input=table.encode())
    for tree, start, size in ((trees.boot, 1, 64), (trees.root, 65, 200)):
        tree.write_tar(tar)
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={start * MIB}", "-d", tar, raw, f"{size}M"])
    return raw


def look(raw: Path, disk: GuestDisk, folder: Path) -> Ext4:
    """As a build does it."""
    boot_start, root_start = checks.require_partitions(raw, disk.name)
    for name in ("boot", "root"):
        (folder / name).mkdir()
    boot, root = Ext4(raw, boot_start, folder / "boot"), Ext4(raw, root_start, folder / "root")
    checks.require_installed(boot, root, disk)
    root.apply(disk.edits, 1)
    checks.require_ready(System(root, boot, ""), disk, "virt")
    return root


@pytest.fixture
def disk(project_folder: Path) -> GuestDisk:
    found = plan_of(project_folder, node="guest: alpine\n").guest_disk
    assert found is not None
    return found


def test_a_good_disk_passes_and_is_no_nodes_own(disk: GuestDisk, tmp_path: Path) -> None:
    root = look(write_disk(installed(), tmp_path), disk, tmp_path)
    there = root.look(["/etc/ssh/ssh_host_rsa_key", "/etc/shadow", "/etc/fstab", "/usr/lib/pimu/seed"])
    assert "/etc/ssh/ssh_host_rsa_key" not in there
    assert there["/etc/shadow"].read().startswith(b"root:*:")
    assert there["/etc/fstab"].read() == b"UUID=1\t/\text4\trw,noatime,discard,noinit_itable 0 1\n"
    assert (there["/usr/lib/pimu/seed"].mode, there["/usr/lib/pimu/seed"].uid) == (0o755, 0)
    assert run(["e2fsck", "-fn", ext4.volume(root.image, root.start)], check=False).returncode == 0


def lose(volume: str, path: str) -> Change:
    return lambda trees: getattr(trees, volume).entries.pop(path)


def put(volume: str, path: str, text: bytes) -> Change:
    return lambda trees: getattr(trees, volume).entries.update({path: Entry.of_bytes(text, 0)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose("root", "etc/pimu-installed"), "/etc/pimu-installed is missing: the installer did not come to its end"),
        (lose("root", "root/.ssh/authorized_keys"), "/root/.ssh/authorized_keys lacks the key pimu@test"),
        (put("root", "root/.ssh/authorized_keys", b"ssh-rsa AAAA x@y\n"), "lacks the key pimu@test"),
        (put("root", "etc/local.d/pimu-install.start", b""), "/etc/local.d/pimu-install.start was left behind"),
        (put("root", "etc/pimu-answers", b""), "/etc/pimu-answers was left behind by the installer"),
        (put("root", "etc/runlevels/default/local", b""), "/etc/runlevels/default/local was left behind"),
        (lose("boot", "vmlinuz-virt"), "/vmlinuz-virt is missing on the volume that it boots from"),
        (lose("boot", "ldlinux.sys"), "/ldlinux.sys is missing"),
        (put("boot", "extlinux.conf", b"APPEND root=UUID=1 quiet\n"), "/extlinux.conf has no console=ttyS0"),
        (lose("root", "etc/init.d/sshd"), "there is no service sshd, or its package has not been installed"),
        (lose("root", "etc/init.d/cgroups"), "there is no service cgroups"),
        (lose("root", "etc/init.d/acpid"), "there is no service acpid"),
    ],
)
def test_what_is_not_as_it_should_be_is_told(change: Change, said: str, disk: GuestDisk, tmp_path: Path) -> None:
    trees = installed()
    trees.root.entries["etc/local.d"] = Entry("dir", 0o755)
    trees.root.entries["etc/runlevels/default"] = Entry("dir", 0o755)
    change(trees)
    with pytest.raises(BuildError, match=f"(?s)alpine: the guest's disk is not what it should be:.*{said}"):
        look(write_disk(trees, tmp_path), disk, tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        "label: gpt\nstart=2048, size=131072\nstart=133120, size=400000\n",
        TABLE.replace(", bootable", ""),
        TABLE.replace("type=83\n", "type=82\n"),
        TABLE.rpartition("start=")[0],
    ],
    ids=["gpt", "nothing to boot from", "swap", "one"],
)
def test_other_partitions_are_refused(table: str, disk: GuestDisk, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="it has not two partitions, the first to boot from, in a dos table"):
        look(write_disk(installed(), tmp_path, table), disk, tmp_path)


def test_an_empty_disk_and_one_that_was_mounted_are_refused(disk: GuestDisk, tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    with empty.open("wb") as file:
        file.truncate(MIB)
    with pytest.raises(BuildError, match="it has not two partitions"):
        checks.require_partitions(empty, disk.name)
    raw = write_disk(installed(), tmp_path)
    run(["debugfs", "-w", "-R", "feature needs_recovery", ext4.volume(raw, 65 * MIB)])
    with pytest.raises(BuildError, match="its root volume is no ext4 that was unmounted"):
        look(raw, disk, tmp_path)
