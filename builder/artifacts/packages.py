"""What is installed in a system, as the database of its package manager has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from builder.errors import BuildError
from builder.model.manifest import FileState, Manifest

Kind = Literal["deb", "apk"]

_NOTHING_THERE = ("not-installed", "config-files")  # dpkg(1), package states without the package's files
_SOURCE = re.compile(r"(?P<name>\S+)(?: \((?P<version>[^)]+)\))?")


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
    """Which of an image's files is the disk of its guest."""
    paths = [edit["path"] for edit in manifest.plan.get("edits", []) if edit.get("blob") == "guest-disk"]
    return next((file for file in manifest.files if file.volume == "root" and file.path in paths), None)


def system_of(kind: Kind, database: str, os_release: str, where: str) -> System:
    """Raises BuildError, at `where`, when that is no such database."""
    packages = {"deb": dpkg_packages, "apk": apk_packages}[kind](database, where)
    about = _assignments(os_release)
    return System(kind, about.get("ID", ""), about.get("VERSION_ID", ""), packages)


def dpkg_packages(status: str, where: str) -> tuple[Package, ...]:
    """Those of /var/lib/dpkg/status whose files are there. Raises BuildError."""
    found = []
    for stanza in _stanzas(status):
        fields = dict(_fields(stanza))
        if fields.get("Status", "").rpartition(" ")[2] in _NOTHING_THERE:
            continue
        name, version, architecture = _required(fields, ("Package", "Version", "Architecture"), where)
        source = _SOURCE.fullmatch(fields.get("Source", name))
        if source is None:
            raise _damaged(f"{name} is of the source {fields['Source']!r}", where)
        found.append(
            Package(
                name,
                version,
                architecture,
                source["name"],
                source["version"] or version,
                fields.get("Maintainer", ""),
                fields.get("Description", ""),
                fields.get("Homepage", ""),
            )
        )
    return _sorted(found, where)


def apk_packages(installed: str, where: str) -> tuple[Package, ...]:
    """Those of /lib/apk/db/installed (apk-tools, apk-v2(5)): one letter, a colon, a value. Raises BuildError."""
    found = []
    for stanza in _stanzas(installed):
        fields = {line[0]: line[2:].strip() for line in stanza.splitlines() if line[1:2] == ":"}
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


def _stanzas(text: str) -> Iterator[str]:
    return (stanza for stanza in re.split(r"\n\s*\n", text) if stanza.strip())


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    """First lines of values: what goes on in the next line is nothing that is asked for here."""
    for line in stanza.strip("\n").splitlines():
        name, colon, value = line.partition(":")
        if colon and not name[:1].isspace():
            yield name, value.strip()


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
