"""Gather a set of images that anybody may have: each looked at once more, with its papers, and one list of checksums.

Who has the set needs nothing of ours to check it: sha256sum, gpgv, minisign and bmaptool know all of its files.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets as random_names
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.bake.private_keys import require_no_private_keys
from builder.errors import ConfigurationError, DownloadError, VerifyMismatchError
from builder.fetch.cache import sha256_of
from builder.host import tools
from builder.host.free_space import told_when_full
from builder.host.sync import sync_filesystem
from builder.image.forms import FORMS, manifest_of, raw
from builder.model.manifest import Manifest
from builder.model.progress import Progress
from builder.publish.bmap import block_map
from builder.publish.digests import digests_of
from builder.publish.git import revision_of
from builder.publish.installed import read_installed
from builder.publish.os_list import Download, os_list
from builder.publish.packages import System, guest_disk
from builder.publish.provenance import Run, provenance
from builder.publish.signing import Signers
from builder.publish.spdx import sbom
from builder.store.products import Store

SUMS, OS_LIST, PROVENANCE = "SHA256SUMS", "os_list.json", "set.intoto.jsonl"
_MAKE_ROOM = "make room there, or name another folder"


def images_in(output: Path, nodes: Sequence[str]) -> list[Path]:
    """The smallest image file of each node; without names, of all nodes that have a manifest. Raises
    ConfigurationError."""
    suffix = ".manifest.json"
    names = list(nodes) or sorted(path.name.removesuffix(suffix) for path in output.glob(f"*{suffix}"))
    found = {name: [path for form in FORMS if (path := output / f"{name}{form}").is_file()] for name in names}
    missing = [name for name, forms in found.items() if not forms]
    if missing or not found:
        text = f"has no image of {', '.join(missing)}" if missing else "has no images"
        raise ConfigurationError(text, where=str(output), hint="build them, best with --compress xz")
    return [min(forms, key=lambda path: path.stat().st_size) for forms in found.values()]


def publish_set(
    images: Sequence[Path], to: Path, *, url: str, signers: Signers, project: Path, store: Store, progress: Progress
) -> list[Path]:
    """The files of a new folder `to`, which is there when it is whole. `url` is where the folder will be found.

    Raises ConfigurationError for an image with a secret and for a key that cannot sign, before anything is
    written; VerifyMismatchError; BuildError when a signer fails.
    """
    signers.require()
    started, manifests = time.time(), {image: manifest_of(image) for image in images}
    for image, manifest in manifests.items():
        _require_named(image, manifest)
        _require_no_secrets(image, manifest)
    if to.exists():
        raise ConfigurationError("is there already", where=str(to), hint="a set is never changed; name a new folder")
    to.parent.mkdir(parents=True, exist_ok=True)
    fresh = to.with_name(f".{to.name}-{random_names.token_hex(8)}.tmp")
    try:
        with told_when_full(to.parent, _MAKE_ROOM):
            fresh.mkdir()
            downloads = list(_with_papers(manifests, fresh, store, progress))
            (fresh / OS_LIST).write_bytes(os_list(downloads, url))
            hashed = {download.file: download.sha256 for download in downloads}
            sums = {path.name: hashed.get(path.name) or sha256_of(path) for path in sorted(fresh.iterdir())}
            told = provenance(
                sums,
                list(manifests.values()),
                Run(started, time.time(), socket.gethostname(), _system(), os.environ),
                tools=tools.shaping_tools(),
                revision=revision_of(project),
            )
            (fresh / PROVENANCE).write_bytes(told)
            sums[PROVENANCE] = hashlib.sha256(told).hexdigest()
            (fresh / SUMS).write_text("".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items())))
            signers.sign(fresh / SUMS)
            sync_filesystem(fresh)
            fresh.rename(to)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return sorted(to.iterdir())


def _with_papers(
    manifests: Mapping[Path, Manifest], fresh: Path, store: Store, progress: Progress
) -> Iterator[Download]:
    guests: dict[str, System] = {}
    for image, manifest in manifests.items():
        node = manifest.node
        progress.step("publish", f"{image.name}: prove it, and write its papers")
        packed = fresh / image.name
        shutil.copyfile(image, packed)
        # The copy is proved: a build may put another image in the original's place meanwhile.
        try:
            with raw(packed, manifest.image, store, progress) as whole:
                digests = digests_of(whole, manifest.image.allocated)
                if digests.chunks != manifest.image.chunks:
                    raise VerifyMismatchError("does not agree with its manifest", hint="build it again")
                _require_no_keys(whole, image, manifest)
                installed = read_installed(whole, manifest, fresh, guests)
                (fresh / f"{node}.bmap").write_text(block_map(manifest.image, digests.extents))
        except (DownloadError, VerifyMismatchError) as damaged:
            damaged.where = str(image)
            raise
        (fresh / f"{node}.spdx.json").write_bytes(sbom(manifest, installed, digests.whole))
        (fresh / f"{node}.manifest.json").write_text(manifest.to_json())
        yield Download(manifest, installed.epoch, digests.whole, packed.name, sha256_of(packed), packed.stat().st_size)


def _require_named(image: Path, manifest: Manifest) -> None:
    """The papers have the node's name: under another one they would take the place of another image's."""
    if image.name.partition(".img")[0] != manifest.node:
        said = f"has the manifest of {manifest.node}, and its name is another node's"
        raise ConfigurationError(said, where=str(image), hint="build it again")


def _require_no_secrets(image: Path, manifest: Manifest) -> None:
    if references := sorted(set(_references(manifest.plan))):
        raise ConfigurationError(
            f"holds secrets, and must not be published: {', '.join(references)}",
            where=str(image),
            hint="build it with --without-secrets; `flash` gives them to the disk",
        )


def _require_no_keys(whole: Path, image: Path, manifest: Manifest) -> None:
    """But in the guest's disk, which is a disk in a file of another form: `read_installed` looks into it."""
    disk = guest_disk(manifest)
    skip = [] if disk is None else [f"root:{disk.path}"]
    pinned = {locked.get("sha256") for locked in manifest.lock.values()}
    fetched = [f"{file.volume}:{file.path}" for file in manifest.files if file.sha256 and file.sha256 in pinned]
    require_no_private_keys(whole, manifest.layout, str(image), skip=skip, fetched=fetched)


def _references(plan: Any) -> Iterator[str]:
    """References of all secrets in a manifest's plan: each stands in a mapping, under the key `reference`."""
    if isinstance(plan, dict):
        if isinstance(plan.get("reference"), str):
            yield plan["reference"]
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            yield from _references(part)


def _system() -> str:
    release = platform.freedesktop_os_release()
    return f"{release.get('PRETTY_NAME', 'Linux')}, {platform.machine()}"
