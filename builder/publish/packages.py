"""The packages of a system, from the database of its package manager."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from builder.errors import BuildError
from builder.lock.stanzas import stanzas
from builder.model.manifest import FileState, Manifest

Kind = Literal["deb", "apk"]

_NOTHING_THERE = ("not-installed", "config-files")  # dpkg(1), package states without the package's files


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """`source` and `source_version` are what it was built from. `licence` is in the database's own words, "" where it
    has none, as dpkg's."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    maintainer: str = ""
    summary: str = ""
    homepage: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """`name` and `version` are ID and VERSION_ID of os-release(5), "" where it says nothing."""

    kind: Kind
    name: str
    version: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """All that is installed in an image. `epoch` is the time of all in it, in seconds."""

    epoch: int
    pi: System
    guest: System | None


def guest_disk(manifest: Manifest) -> FileState | None:
    """The file of an image that is the disk of its guest; None without a guest."""
    paths = [edit["path"] for edit in manifest.plan.get("edits", []) if edit.get("blob") == "guest-disk"]
    return next((file for file in manifest.files if file.volume == "root" and file.path in paths), None)


def system_of(kind: Kind, database: str, os_release: str, where: str) -> System:
    """Raises BuildError, at `where`, when that is no such database."""
    packages = {"deb": dpkg_packages, "apk": apk_packages}[kind](database, where)
    about = _assignments(os_release)
    return System(kind, about.get("ID", ""), about.get("VERSION_ID", ""), packages)


def dpkg_packages(status: str, where: str) -> tuple[Package, ...]:
    """Packages of a /var/lib/dpkg/status whose files are in the image. Raises BuildError, at `where`, for a broken
    stanza."""
    found = []
    for fields in stanzas(status):
        if fields.get("Status", "").rpartition(" ")[2] in _NOTHING_THERE:
            continue
        name, version, architecture = _required(fields, ("Package", "Version", "Architecture"), where)
        try:
            source, source_version = fields.source or name, str(fields.source_version)
        except ValueError as invalid:
            raise _damaged(f"{name}: {invalid}", where) from invalid
        more = (fields.get(field, "").partition("\n")[0] for field in ("Maintainer", "Description", "Homepage"))
        found.append(Package(name, version, architecture, source, source_version, *more))
    return _sorted(found, where)


def apk_packages(installed: str, where: str) -> tuple[Package, ...]:
    """Packages of a /lib/apk/db/installed (apk-tools, apk-v2(5)): lines of one letter, a colon and a value. Raises
    BuildError, at `where`, for a broken stanza."""
    found = []
    for stanza in filter(str.strip, re.split(r"\n\s*\n", installed)):
        fields = {line[0]: line[2:].strip() for line in stanza.split("\n") if line[1:2] == ":"}
        name, version, architecture = _required(fields, ("P", "V", "A"), where)
        found.append(
            Package(
                name,
                version,
                architecture,
                fields.get("o", name),
                version,
                fields.get("m", ""),
                fields.get("T", ""),
                fields.get("U", ""),
                fields.get("L", ""),
            )
        )
    return _sorted(found, where)


def _required(fields: Mapping[str, str], names: tuple[str, ...], where: str) -> list[str]:
    missing = [name for name in names if not fields.get(name)]
    if missing:
        raise _damaged(f"{next(iter(fields.values()), 'an entry')} has no {missing[0]}", where)
    return [fields[name] for name in names]


def _sorted(found: list[Package], where: str) -> tuple[Package, ...]:
    if not found:
        raise _damaged("nothing is installed", where)
    packages = tuple(sorted(found))
    for one, other in pairwise(packages):
        if (one.name, one.architecture) == (other.name, other.architecture):
            raise _damaged(f"{one.name} is there twice, {one.version} and {other.version}", where)
    return packages


def _damaged(reason: str, where: str) -> BuildError:
    return BuildError(f"is no database of packages: {reason}", where=where, hint="build the image again")


def _assignments(os_release: str) -> dict[str, str]:
    lines = (line.partition("=") for line in os_release.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in lines if equals}
