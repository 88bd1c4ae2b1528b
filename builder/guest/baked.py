"""A guest's disk of Debian packages: baked like a layer, written as a qcow2 without partitions.

The filesystem has the disk's full virtual size from the start, so nothing has to grow inside the guest; what it has
not written takes no room.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.bake import LayerInputs, text_files
from builder.errors import BuildError
from builder.fs import ext4, mbr
from builder.fs.qcow2 import DISK, write_qcow2
from builder.fs.tree import Entry, Tree
from builder.model.layer import ROOT_TAR
from builder.model.plan import GuestDisk
from builder.model.progress import Progress
from builder.store.products import Blobs, Product, Store, require_whole
from builder.store.step import register

KERNEL, INITRD = "vmlinuz", "initrd.img"


def layer_inputs(architecture: str, disk: GuestDisk) -> LayerInputs:
    """The bake of a guest's system; its text files come first, for its initrd is made of them."""
    return LayerInputs(architecture=architecture, files=text_files(disk.edits))


def make_disk(disk: GuestDisk, layer: Product, *, epoch: int, store: Store, progress: Progress) -> Blobs:
    """The blobs of a baked guest: its qcow2, with kernel and initrd where QEMU is to load them."""
    inputs = {
        "layer": layer.key,
        "edits": [repr(replace(edit, feature="", origin="")) for edit in disk.edits],
        "disk": [disk.name, disk.size, disk.has_kernel],
        "epoch": epoch,
    }

    def fill(fresh: Path) -> None:
        progress.step("guest", f"{disk.name}: write the disk")
        require_whole(layer.folder)
        _write(disk, layer.folder, epoch, fresh)

    made = store.make(store.step(_MAKER, disk.name, inputs), fill, parents=[layer])
    kernel = {"guest-kernel": KERNEL, "guest-initrd": INITRD} if disk.has_kernel else {}
    return Blobs(made, {name: made.folder / file for name, file in {"guest-disk": DISK, **kernel}.items()})


def _write(disk: GuestDisk, layer: Path, epoch: int, fresh: Path) -> None:
    """Write the qcow2, and kernel and initrd where the disk has them, into `fresh`."""
    tree = Tree.of_layers([layer / ROOT_TAR], epoch)
    for edit in disk.edits:
        tree.apply(edit, blobs={})
    raw, tar = fresh / "disk.raw", fresh / "root.tar"
    tree.write_tar(tar)
    _write_raw(disk, raw, tar, epoch)
    write_qcow2(raw, fresh)
    tar.unlink()
    if disk.has_kernel:
        for name in (KERNEL, INITRD):
            (fresh / name).write_bytes(_newest(tree, f"boot/{name}-").read())


def _write_raw(disk: GuestDisk, raw: Path, tar: Path, epoch: int) -> None:
    mbr.sparse(raw, disk.size)
    ext4.make(
        raw,
        tar,
        start=0,
        size=disk.size,
        label="guest",
        uuid=disk.derived("filesystem"),
        hash_seed=disk.derived("hash-seed"),
        features="metadata_csum,64bit",
        epoch=epoch,
        # An absent cluster of a qcow2 reads as zeros: without this the guest would write 2 GiB of zeroed inode tables.
        extended=("assume_storage_prezeroed=1",),
    )


def _newest(tree: Tree, prefix: str) -> Entry:
    """The last of the files of that name; Debian's kernels have their version at the end."""
    names = [path for path, _ in tree.files() if path.startswith(prefix)]
    if not names:
        raise BuildError(f"the guest has no /{prefix}*", hint="add a kernel to its packages, or remove kernel_words")
    return tree.entries[names[-1]]


_MAKER = register("guests", _write)
