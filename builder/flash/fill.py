"""Write the secrets that an image lacks to its disk, after the image has been read back and before the disk can boot.

The filesystems are edited unmounted, and read again from the medium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from builder.errors import VerifyMismatchError
from builder.fs import ext4, fat
from builder.fs.tree import Entry, Tree
from builder.fs.volumes import Ext4
from builder.model.edits import Edit, WriteFile
from builder.model.manifest import Manifest
from builder.model.patches import Resolve, SecretRef
from builder.model.pending import PendingFile, PendingRecord, PendingSeed
from builder.verify import root_filesystem


def pending_secrets(manifest: Manifest) -> list[SecretRef]:
    return [secret for pending in manifest.pending for secret in pending.secrets()]


def fill(disk: Path, manifest: Manifest, secrets: Resolve, *, work: Path, forget_cache: Callable[[], None]) -> None:
    """Write the pending secrets. `disk` holds the image; it need not have a partition table. `work` is an empty folder
    for secrets.

    Raises VerifyMismatchError when the medium does not have them afterwards, and BuildError.
    """
    root = Ext4(disk, manifest.layout.root_start, work)
    epoch = ext4.made_at(disk, root.start)
    edits: list[Edit] = [p.edit() for p in manifest.pending if isinstance(p, PendingFile | PendingRecord)]
    seeds: dict[str, list[PendingSeed]] = {}
    for pending in manifest.pending:
        if isinstance(pending, PendingSeed):
            seeds.setdefault(pending.path, []).append(pending)
    for path, files in seeds.items():
        edits.append(_filled_seed(root.look([path])[path], files, secrets, epoch, work))
    root.apply(edits, epoch, secrets)
    forget_cache()
    for mismatch in root_filesystem(disk, manifest.layout):
        raise VerifyMismatchError(mismatch.describe(), where=str(disk))
    _require_held(root, edits, secrets)


def _filled_seed(seed: Entry, files: Iterable[PendingSeed], secrets: Resolve, epoch: int, work: Path) -> WriteFile:
    """The edit that replaces the guest's seed by one with these files."""
    image = work / "seed.img"
    image.write_bytes(seed.read())
    first = None
    for first in files:
        entry = Entry.of_bytes(f"{secrets(first.secret)}\n".encode(), epoch)
        fat.edit(image, 0, [(first.name, None, entry)], work, epoch)
    assert first is not None
    content = image.read_bytes()
    image.unlink()
    return WriteFile(
        volume="root",
        path=first.path,
        scope="node",
        feature=first.feature,
        origin=first.origin,
        content=content,
        mode=seed.mode,
        uid=seed.uid,
        gid=seed.gid,
    )


def _require_held(root: Ext4, edits: Iterable[Edit], secrets: Resolve) -> None:
    """Raises VerifyMismatchError unless each edit, applied again, changes nothing."""
    for edit in edits:
        found = root.look([edit.path]).get(edit.path)
        tree = Tree(0)
        if found is not None:
            tree.entries[edit.path.strip("/")] = found
        wanted = tree.entries[tree.apply(edit, {}, secrets)]
        if found is None or _facts(found) != _facts(wanted):
            raise VerifyMismatchError(f"does not hold {edit.path} as it was written", where=str(root.image))


def _facts(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.mode, entry.uid, entry.gid, entry.read()
