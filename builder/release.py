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

from builder import recipe
from builder.artifacts.os_list import Download, os_list
from builder.artifacts.packages import System
from builder.artifacts.provenance import Run, provenance
from builder.artifacts.spdx import sbom
from builder.errors import ConfigurationError, DownloadError, VerifyMismatchError
from builder.forms.block_map import block_map
from builder.forms.digests import digests_of
from builder.forms.image_file import FORMS, manifest_of, raw
from builder.installed import read_installed
from builder.model.manifest import Manifest
from builder.model.progress import Progress
from builder.revision import revision_of
from builder.room import told_when_full
from builder.signing import Signers
from builder.sources.cache import sha256_of
from builder.store import Store

SUMS, OS_LIST, PROVENANCE = "SHA256SUMS", "os_list.json", "set.intoto.jsonl"
_MAKE_ROOM = "make room there, or name another folder"


def images_in(output: Path, nodes: Sequence[str]) -> list[Path]:
    """Of each node its smallest form; without names, of all that have a manifest. Raises ConfigurationError."""
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

    Raises ConfigurationError for what must not be published, and for a key that cannot sign, before anything is
    written; VerifyMismatchError; BuildError when a signer fails.
    """
    signers.require()
    started, manifests = time.time(), {image: manifest_of(image) for image in images}
    for image, manifest in manifests.items():
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
                tools=recipe.shaping_tools(),
                revision=revision_of(project),
            )
            (fresh / PROVENANCE).write_bytes(told)
            sums[PROVENANCE] = hashlib.sha256(told).hexdigest()
            (fresh / SUMS).write_text("".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items())))
            signers.sign(fresh / SUMS)
            os.sync()
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
        # The copy is what is proved: a build may put another image in the original's place meanwhile.
        try:
            with raw(packed, manifest.image, store, progress) as whole:
                digests = digests_of(whole, manifest.image.allocated)
                if digests.chunks != manifest.image.chunks:
                    raise VerifyMismatchError("is not what its manifest says", hint="build it again")
                installed = read_installed(whole, manifest, fresh, guests)
                (fresh / f"{node}.bmap").write_text(block_map(manifest.image, digests.extents))
        except (DownloadError, VerifyMismatchError) as damaged:
            damaged.where = str(image)
            raise
        (fresh / f"{node}.spdx.json").write_bytes(sbom(manifest, installed, digests.whole))
        (fresh / f"{node}.manifest.json").write_text(manifest.to_json())
        yield Download(manifest, installed.epoch, digests.whole, packed.name, sha256_of(packed), packed.stat().st_size)


def _require_no_secrets(image: Path, manifest: Manifest) -> None:
    if references := sorted(set(_references(manifest.plan))):
        raise ConfigurationError(
            f"holds secrets, and must not be published: {', '.join(references)}",
            where=str(image),
            hint="build it with --without-secrets; `flash` gives them to the disk",
        )


def _references(plan: Any) -> Iterator[str]:
    """Of all secrets in a manifest's plan: whatever names one is a mapping with the key `reference`."""
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
