"""Resolve packages with the host's apt against a target's dpkg status, isolated from the host's own apt settings.

apt checks the archive's signatures; the answer carries the SHA256 that the signed index gives for every .deb.
"""

from __future__ import annotations

import email.utils
import errno
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from builder.errors import BuildError, DiskFullError, DownloadError
from builder.model.lock import Deb, Resolution
from builder.model.settings import AptSource
from builder.run import run

ESSENTIAL = ("?essential", "?priority(required)")
_PRINTED = re.compile(r"'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")


def sources_text(sources: Sequence[AptSource], *, keyring: str | None = None) -> str:
    """deb822 sources (sources.list(5)); `keyring` replaces each source's own path."""
    stanzas = (
        f"Types: deb\nURIs: {source.uri}\nSuites: {' '.join(source.suites)}\n"
        f"Components: {' '.join(source.components)}\nSigned-By: {keyring or source.keyring}\n"
        for source in sources
    )
    return "\n".join(stanzas)


def resolve(
    *,
    request: str,
    sources: Sequence[AptSource],
    architecture: str,
    packages: Sequence[str],
    status: bytes,
    work: Path,
    bootstrap: bool,
    keyrings: Mapping[str, Path] | None = None,
) -> Resolution:
    """The .debs that `packages` need beyond those that `status` (a dpkg status file) has installed. `keyrings` has the
    files for keyrings of sources that are no paths on this host.

    No recommends. With `bootstrap` the essential packages are asked for too, and named in the answer.
    Raises DownloadError when the archive is unreachable or its signature is not good, BuildError when a package or
    dependency is not to be had.
    """
    here = [
        source.model_copy(update={"keyring": str((keyrings or {}).get(source.keyring, source.keyring))})
        for source in sources
    ]
    env = _isolate(work, here, architecture, status)
    updated = run(["apt-get", "update", "--error-on=any"], env=env, check=False)
    if os.strerror(errno.ENOSPC).encode() in updated.stderr:
        raise DiskFullError("no room for the archive's lists", where=str(work), hint="make room, or set PIMU_CACHE")
    if updated.returncode != 0:
        archives = ", ".join(source.uri for source in sources)
        raise DownloadError(
            f"apt cannot read the archive:\n  | {_last_lines(updated.stderr)}", where=archives, hint="check the network"
        )
    asked = [*ESSENTIAL, *packages] if bootstrap else list(packages)
    return Resolution(
        request=request,
        epoch=max(_release_date(path) for path in (work / "lists").glob("*Release")),
        debs=tuple(sorted(_needed(asked, env))),
        essential=tuple(sorted(deb.name for deb in _needed([ESSENTIAL[0]], env))) if bootstrap else (),
    )


def _isolate(work: Path, sources: Sequence[AptSource], architecture: str, status: bytes) -> dict[str, str]:
    for folder in ("lists/partial", "archives/partial", "sources", "preferences"):
        (work / folder).mkdir(parents=True)
    (work / "status").write_bytes(status)
    (work / "sources/archive.sources").write_text(sources_text(sources))
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::ForceHash": "SHA256",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache::archives": f"{work}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": f"{work}/preferences",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": f"{work}/sources",
        "Dir::Etc::trustedparts": "/dev/null",
        "Dir::State": str(work),
        "Dir::State::lists": f"{work}/lists",
        "Dir::State::status": f"{work}/status",
    }
    config = work / "apt.conf"
    config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return {"APT_CONFIG": str(config)}


def _needed(packages: Sequence[str], env: dict[str, str]) -> list[Deb]:
    printed = run(["apt-get", "install", "--print-uris", "--yes", "--quiet", *packages], env=env, check=False)
    if printed.returncode != 0:
        raise BuildError(
            f"apt cannot satisfy the packages:\n  | {_last_lines(printed.stderr + printed.stdout)}",
            hint="correct `packages` in profiles/, or the sources of the base",
        )
    return [_deb(match) for match in _PRINTED.finditer(printed.text)]


def _deb(match: re.Match[str]) -> Deb:
    """apt writes the file as name_version_architecture.deb, `%3a` for the colon of an epoch."""
    name, version, architecture = unquote(match["file"]).removesuffix(".deb").split("_")
    archive, _, pool = match["url"].partition("/pool/")
    if not urlsplit(match["url"]).path.endswith(".deb") or not pool:
        raise BuildError(f"apt names a package outside of a pool: {match['url']}")
    return Deb(
        name=name,
        version=version,
        architecture=architecture,
        archive=archive,
        path=f"pool/{pool}",
        sha256=match["sha256"],
        size=int(match["size"]),
    )


def _release_date(path: Path) -> int:
    """The Date field of an InRelease or Release file, in seconds."""
    date = re.search(r"^Date: (.+)$", path.read_text(errors="replace"), re.MULTILINE)
    if date is None:
        raise BuildError("has no Date", where=str(path))
    return int(email.utils.parsedate_to_datetime(date[1]).timestamp())


def _last_lines(output: bytes) -> str:
    return "\n  | ".join(output.decode(errors="replace").strip().splitlines()[-8:])
