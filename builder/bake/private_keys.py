"""Find private keys in a whole image and in its guest's disk: first in the bytes, then the files at these places."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from builder import limits
from builder.bake.identities import source_of_bytecode
from builder.bake.key_forms import keys_and_packed, unpack
from builder.errors import ConfigurationError
from builder.fs import ext4, fat
from builder.fs.owners import BLOCK, ext4_owners, owners
from builder.host.run import run
from builder.model.image_path import usr_merged
from builder.model.manifest import DiskFacts

TOOLS = ("debugfs",)

_INFO = "/var/lib/dpkg/info"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
Sums = dict[str, tuple[str, str]]
"""Checksums by absolute path: an algorithm of hashlib, and the digest in hexadecimal digits."""


def require_no_private_keys(
    image: Path, disk: DiskFacts, where: str, *, skip: Collection[str] = (), fetched: Collection[str] = ()
) -> None:
    """Raises ConfigurationError, at `where`, for a private key in a raw image, or in a compressed file of it.

    Files in `skip` (as `root:/path`) are ignored. Files in `fetched` are not unpacked, because everybody can download
    them. A key in an unchanged file of a package is no secret: some programs test themselves with such keys. The
    checksums in the image's package database tell whether a file is unchanged.
    """
    keys, packed = ({offset // BLOCK * BLOCK for offset in found} for found in keys_and_packed(image))
    named = owners(image, disk, keys | packed)
    with_keys = {named[offset] for offset in keys} - {*skip}
    to_unpack = {name for offset in packed if _is_file(name := named[offset])} - with_keys - {*skip} - {*fetched}
    with TemporaryDirectory(dir=image.parent, prefix=".pimu-") as name:
        work = Path(name)
        in_root = [name.removeprefix("root:") for name in sorted(with_keys | to_unpack) if name.startswith("root:/")]
        shipped = {f"root:{path}" for path in _as_shipped(image, disk.root_start, in_root, work)}

        def dump(name: str, to: Path) -> None:
            volume, _, path = name.partition(":")
            if volume == "root":
                ext4.dump_files(image, disk.root_start, {path.strip("/"): to})
            else:
                to.write_bytes(fat.read_file(image, disk.boot_start, path.strip("/"), limits.INITRD))

        hidden = list(_with_hidden_keys(to_unpack - shipped, dump, work, where))
    _refuse([*sorted(with_keys - shipped), *hidden], where)


def require_no_keys_in_guest(volumes: Sequence[tuple[Path, int]], where: str, work: Path) -> None:
    """Raises ConfigurationError for a private key in a guest's raw disk. `volumes` are its ext4 volumes: the disk, and
    an offset in bytes. `work` is an empty folder."""
    (disk,) = {disk for disk, _ in volumes}
    keys, packed = keys_and_packed(disk)
    wrong: list[str] = []
    known: set[int] = set()
    for _, start in volumes:
        named = ext4_owners(disk, start, keys | packed)
        known |= named.keys()
        with_keys = {named[offset] for offset in keys & named.keys()}
        to_unpack = {named[offset] for offset in packed & named.keys()} - with_keys
        shipped = _as_shipped(disk, start, sorted(with_keys | to_unpack), work)

        def dump(path: str, to: Path, start: int = start) -> None:
            ext4.dump_files(disk, start, {path.strip("/"): to})

        wrong += sorted(with_keys - shipped)
        wrong += _with_hidden_keys(to_unpack - shipped, dump, work, where)
    _refuse([*wrong, *(["(in no file)"] if keys - known else [])], where)


def _refuse(wrong: Sequence[str], where: str) -> None:
    if wrong:
        raise ConfigurationError(
            f"holds private keys, and must not be published: {', '.join(wrong[:20])}",
            where=where,
            hint="say identities: {PATH: remake} or remove in the role's profile, or take the file out of overlays/",
        )


def _is_file(name: str) -> bool:
    return not name.partition(":")[2].startswith("(") and not name.startswith("(")


def _with_hidden_keys(names: Iterable[str], dump: Callable[[str, Path], None], work: Path, where: str) -> Iterator[str]:
    """Names of the compressed files with a private key in them. Together they may unpack to limits.UNPACKED bytes."""
    left = limits.UNPACKED
    packed, unpacked = work / "packed", work / "unpacked"
    for name in sorted(names):
        dump(name, packed)
        left -= unpack(packed, unpacked, left, f"{where}: {name}")
        if keys_and_packed(unpacked)[0]:
            yield f"{name} (compressed)"
        packed.unlink()
        unpacked.unlink()


def _as_shipped(image: Path, start: int, paths: Sequence[str], work: Path) -> set[str]:
    """The paths of unchanged files of packages, by the checksums in this volume's package database, and of byte code of
    Python whose source is unchanged."""
    if not paths:
        return set()
    sums = _dpkg_sums(image, start, work) | _apk_sums(image, start, work)
    sources = {path: source_of_bytecode(path) for path in paths}
    there = ext4.look(image, start, [path.strip("/") for path in {*sources.values()} & sums.keys()], work)
    listed = sorted({*paths, *(f"/{path}" for path in there)} & sums.keys())
    files = {path.strip("/"): work / f"file-{number}" for number, path in enumerate(listed)}
    ext4.dump_files(image, start, files)
    found = set()
    for path, file in zip(listed, files.values(), strict=True):
        algorithm, digest = sums[path]
        if hashlib.new(algorithm, file.read_bytes(), usedforsecurity=False).hexdigest() == digest:
            found.add(path)
        file.unlink()
    return {path for path in paths if path in found or sources[path] in found}


def _dpkg_sums(image: Path, start: int, work: Path) -> Sums:
    """deb-md5sums(5)."""
    listed = run(["debugfs", "-R", f"ls -p {_INFO}", ext4.volume(image, start)]).stdout.decode(errors="replace")
    tables = re.findall(r"^/\d+/\d+/\d+/\d+/([^/\n]+[.]md5sums)/", listed, re.MULTILINE)
    outputs = {f"{_INFO}/{name}".strip("/"): work / f"table-{number}" for number, name in enumerate(tables)}
    ext4.dump_files(image, start, outputs)
    sums = {}
    for table in outputs.values():
        for line in table.read_text(errors="replace").splitlines():
            checksum, _, path = line.partition("  ")
            sums[usr_merged(f"/{path}")] = ("md5", checksum)
        table.unlink()
    return sums


def _apk_sums(image: Path, start: int, work: Path) -> Sums:
    """Checksums of Alpine's package database (apk(5)): F is a folder, R a name in it, Z is Q1 and the sha1 in
    base64."""
    sums, folder, name = {}, "", ""
    for entry in ext4.look(image, start, _APK, work).values():
        if entry.kind != "file":
            continue
        for line in entry.read().decode(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key == "F":
                folder = value
            elif key == "R":
                name = f"/{folder}/{value}" if folder else f"/{value}"
            elif key == "Z" and value.startswith("Q1"):
                sums[name] = ("sha1", base64.b64decode(value[2:]).hex())
    return sums
