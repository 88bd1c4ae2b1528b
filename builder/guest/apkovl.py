"""Files for a live system: an apkovl, which Alpine's initramfs unpacks, in an archive appended to that initramfs.

There it is before anything is looked for, so that no disk has to be found in time (mkinitfs, initramfs-init.in: the
kernel option `apkovl=` with a path).
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

from builder.fs.tree import Tree
from builder.host.run import run
from builder.model.edits import Edit

TOOLS = ("cpio",)

NAME = "pimu.apkovl.tar.gz"
_ALIGNMENT = 4  # of archives in an initramfs (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)


def append(initramfs: Path, edits: Sequence[Edit], work: Path, epoch: int) -> None:
    """Append the files that the edits write to the initramfs, as /pimu.apkovl.tar.gz in its root."""
    tree = Tree(epoch)
    for edit in edits:
        tree.apply(edit, blobs={})
    tar, folder = work / "apkovl.tar", work / "appended"
    tree.write_tar(tar)
    folder.mkdir()
    (folder / NAME).write_bytes(gzip.compress(tar.read_bytes(), mtime=0))
    os.utime(folder / NAME, (epoch, epoch))
    archive = run(
        ["cpio", "--quiet", "--create", "--format=newc", "--reproducible", "--owner=0:0"],
        input=f"{NAME}\n".encode(),
        cwd=folder,
    ).stdout
    with initramfs.open("ab") as file:
        file.write(bytes(-file.tell() % _ALIGNMENT))
        file.write(gzip.compress(archive, mtime=0))
