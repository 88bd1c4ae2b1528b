"""Put finished images into the output folder by a rename. Only one build at a time writes a node's image."""

from __future__ import annotations

import filecmp
import secrets as random_names
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.errors import BusyError, ConfigurationError
from builder.fetch.cache import sha256_of
from builder.fs import chunks
from builder.fs.copies import copy_sparse
from builder.guest.seed import make_seed
from builder.host.file_lock import held_at_once
from builder.host.free_space import require_room, told_when_full
from builder.host.scratch import sweep_folder
from builder.image.forms import FORMS
from builder.image.frames import Frames, write_compressed
from builder.image.golden import Golden
from builder.image.stamp import Stamp, stamp
from builder.model.lock import as_data as lock_data
from builder.model.manifest import ImageFacts, Manifest
from builder.model.plan import Plan
from builder.plan import as_data
from builder.secrets.resolve import Secrets, secrets_of

_MAKE_ROOM = "make room, or name another folder with --output"
_PRIVATE, _PUBLIC = 0o600, 0o644


def prepare_folder(output: Path) -> None:
    """Make the output folder. Raises ConfigurationError when it cannot be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / f".pimu-{random_names.token_hex(8)}.tmp"
        probe.mkdir()
        probe.rmdir()
    except OSError as refused:
        raise ConfigurationError(
            f"cannot be written: {refused.strerror}", where=str(output), hint="name another folder with --output"
        ) from refused


@contextmanager
def locked(output: Path, nodes: Sequence[str]) -> Iterator[None]:
    """Hold the kernel locks of these nodes' images, and remove the leftovers of killed builds.

    Raises BusyError when another build holds one of the locks.
    """
    with ExitStack() as stack:
        for node in sorted(nodes):
            try:
                stack.enter_context(held_at_once(output / f".{node}.lock"))
            except BusyError as busy:
                raise BusyError(f"another build is writing {node}", where=str(output), hint="wait for it") from busy
            for left in output.glob(f".pimu-{node}-{'[0-9a-f]' * 16}.tmp"):  # and not leftovers of NODE-b
                shutil.rmtree(left)
        sweep_folder(output)
        yield


def node_image(
    plan: Plan,
    golden: Golden,
    *,
    output: Path,
    secrets: Secrets,
    sha256: bool,
    frames: Frames | None,
) -> tuple[Path, Path, bool]:
    """Stamp a node, and put its image (compressed if there are frames) and its manifest into `output`. Returns their
    paths, and whether anything changed.

    Raises DiskFullError when there is no room.
    """
    node = plan.settings.name
    image, manifest = output / f"{node}{form_of(frames)}", output / f"{node}.manifest.json"
    may_be_there = image.exists()
    require_room(output, golden.metadata if may_be_there else frames.file if frames else golden.image, _MAKE_ROOM)
    with told_when_full(output, _MAKE_ROOM), _workspace(output, node) as work, ThreadPoolExecutor(1) as pool:
        fresh = work / image.name
        # The copy takes the longest, so it begins at once, unless the output folder may already have the same image.
        copying = None if may_be_there or frames else pool.submit(copy_sparse, golden.image, fresh)
        stamped, described = stamp_node(plan, golden, secrets=secrets, work=work)
        text = described.to_json()
        if frames is not None:
            require_room(output, frames.file, _MAKE_ROOM)
            write_compressed(fresh, golden, stamped, frames)
            changed = not (_says(manifest, text) and image.exists() and filecmp.cmp(fresh, image, shallow=False))
        elif changed := not (_says(manifest, text) and _is_there(image, stamped.facts)):
            if copying is None:
                require_room(output, golden.image, _MAKE_ROOM)
                copy_sparse(golden.image, fresh)
            else:
                copying.result()
            chunks.apply(stamped.delta, fresh)
        if changed:
            fresh.chmod(_PRIVATE if any(secrets_of(plan)) else _PUBLIC)
            (work / manifest.name).write_text(text)
            _remove_outdated(output, node, image, keep_others=_says(manifest, text))
            # The manifest comes last. It counts only if the image has its bytes (`_is_there`, verify). So a build need
            # not wait for the disk: if a power cut loses bytes, the next build writes the image again.
            fresh.rename(image)
            (work / manifest.name).rename(manifest)
        if sha256:
            total = f"{image.name}.sha256"
            (work / total).write_text(f"{sha256_of(image)}  {image.name}\n")
            (work / total).rename(output / total)
    return image, manifest, changed


def stamp_node(plan: Plan, golden: Golden, *, secrets: Secrets, work: Path) -> tuple[Stamp, Manifest]:
    """The stamp of a node's image, and the manifest. `work` is an empty directory."""
    seed = {"guest-seed": _seed(plan, golden.epoch, secrets, work)} if plan.seed else {}
    stamped = stamp(plan, golden, blobs={**golden.blobs, **seed}, secrets=secrets, work=work)
    manifest = Manifest(
        node=plan.settings.name,
        image=stamped.facts,
        layout=stamped.disk,
        files=stamped.files,
        pending=plan.pending,
        plan=as_data(plan),
        lock={name: lock_data(locked) for name, locked in sorted(golden.locked.items())},
    )
    return stamped, manifest


def form_of(frames: Frames | None) -> str:
    """The suffix of an image's file name, after the node's name."""
    return ".img" if frames is None else f".img.{frames.compression}"


def _remove_outdated(output: Path, node: str, image: Path, *, keep_others: bool) -> None:
    """Remove a checksum that no longer fits, and other forms of the image that no longer match the manifest."""
    for form in FORMS:
        other = output / f"{node}{form}"
        if other == image or not keep_others:
            Path(f"{other}.sha256").unlink(missing_ok=True)
        if other != image and not keep_others:
            other.unlink(missing_ok=True)


@contextmanager
def _workspace(output: Path, node: str) -> Iterator[Path]:
    """A new directory on the same filesystem as the image, for the rename."""
    work = output / f".pimu-{node}-{random_names.token_hex(8)}.tmp"
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work)


def _seed(plan: Plan, epoch: int, secrets: Secrets, work: Path) -> Path:
    image = work / "seed.img"
    files = {file.name: file.filled(secrets) for file in plan.seed}
    make_seed(files, image, plan.identity.disk_id, epoch, work)
    return image


def _says(manifest: Path, text: str) -> bool:
    return manifest.exists() and manifest.read_text() == text


def _is_there(image: Path, facts: ImageFacts) -> bool:
    """Whether the output folder has this image. Its bytes decide, because a manifest alone proves nothing."""
    return image.exists() and chunks.is_image(image, facts)
