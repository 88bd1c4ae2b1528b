"""Resolve packages with the host's apt against a target's dpkg status, isolated from the host's own apt settings.

apt checks the archive's signatures. The resolution has the SHA256 of every .deb from the signed index.
"""

from __future__ import annotations

import email.utils
import errno
import hashlib
import os
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from urllib.parse import unquote, urlsplit

from builder.errors import BuildError, DiskFullError, DownloadError
from builder.host.run import run
from builder.model.lock import Deb, Resolution
from builder.model.sources import AptSource

ESSENTIAL = ("?essential", "?priority(required)")
_PREFERENCES = "preferences/kept.pref"
_WHOSE = re.compile(r" ([a-z0-9][a-z0-9+.-]+)(?::\S+)? : ")
_UNMET = re.compile(
    r"(?:Depends|Breaks|Conflicts|Obsoletes): (?P<name>[a-z0-9][a-z0-9+.-]+)"
    r".* but (?:(?P<chosen>\S+ is to be installed)|it is not)"
)
_REMOVAL = re.compile(r"^Remv ([a-z0-9][a-z0-9+.-]+)(?::\S+)? ", re.MULTILINE)
_Identity = tuple[str, str, str]
_PRINTED = re.compile(r"'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")


def sources_text(sources: Sequence[AptSource], *, keyring: str | None = None) -> str:
    """The sources in deb822 style (sources.list(5)). `keyring` replaces each source's own path of its keyring."""
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
    kept: Mapping[Deb, Path] | None = None,
) -> Resolution:
    """The .debs that `packages` need in addition to the packages installed by `status` (text of a dpkg status file).

    `keyrings` maps a keyring name in `sources` that is no path on this host to a file. The resolution takes a needed
    .deb from `kept`, even if the archive no longer has it, unless a newer package needs another version. Recommended
    packages are left out. With `bootstrap` the essential packages are asked for too, and `essential` names them.

    Raises DownloadError when the archive is unreachable or its signature is bad, DiskFullError, and BuildError when a
    package or dependency cannot be found.
    """
    here = [
        source.model_copy(update={"keyring": str((keyrings or {}).get(source.keyring, source.keyring))})
        for source in sources
    ]
    env = _isolate(work, here, architecture, status)
    if kept:
        _offer(kept, work)
    updated = run(["apt-get", "update", "--error-on=any"], env=env, check=False)
    if os.strerror(errno.ENOSPC).encode() in updated.stderr:
        raise DiskFullError("no room for the archive's lists", where=str(work), hint="make room, or set PIMU_CACHE")
    if updated.returncode != 0:
        archives = ", ".join(source.uri for source in sources)
        raise DownloadError(
            f"apt cannot read the archive:\n  | {_last_lines(updated.stderr)}", where=archives, hint="check the network"
        )
    asked = [*ESSENTIAL, *packages] if bootstrap else list(packages)
    stays = {_identity(deb): deb for deb in kept or {}}
    needed = _needed(asked, env, stays, work / _PREFERENCES)
    essential = _needed([ESSENTIAL[0]], env, stays, work / _PREFERENCES) if bootstrap else []
    return Resolution(
        request=request,
        epoch=max(_release_date(path) for path in (work / "lists").glob("*Release")),
        debs=tuple(sorted(needed)),
        essential=tuple(sorted(deb.name for deb in essential)),
        removed=() if bootstrap else _removed(asked, env),
    )


def _offer(kept: Mapping[Deb, Path], work: Path) -> None:
    """Make a local archive of the kept .debs, because the mirrors may have only their successors."""
    folder = work / "kept"
    folder.mkdir()
    index = b"".join(
        run(["dpkg-deb", "--field", file]).stdout.rstrip()
        + f"\nFilename: pool/{deb.sha256}.deb\nSize: {deb.size}\nSHA256: {deb.sha256}\n\n".encode()
        for deb, file in kept.items()
    )
    sums = f"{hashlib.sha256(index).hexdigest()} {len(index)} Packages"
    (folder / "Packages").write_bytes(index)
    (folder / "Release").write_text(f"Date: {email.utils.formatdate(0, usegmt=True)}\nSHA256:\n {sums}\n")
    (work / "sources/kept.sources").write_text(f"Types: deb\nURIs: file:{folder}\nSuites: ./\nTrusted: yes\n")


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


def _needed(
    packages: Sequence[str], env: dict[str, str], stays: Mapping[_Identity, Deb], preferences: Path
) -> list[Deb]:
    """The .debs to install. apt picks versions before it checks dependencies. If the pins of `stays` cannot be
    satisfied, drop the pins that apt blames and try again; in the end, drop all. Raises BuildError if apt fails without
    pins."""
    held = {deb.name for deb in stays.values()}
    while True:
        preferences.write_text("".join(_preference(name) for name in sorted(held)))
        printed = run(["apt-get", "install", "--print-uris", "--yes", "--quiet", *packages], env=env, check=False)
        if printed.returncode == 0:
            found = map(_deb, _PRINTED.finditer(printed.text))
            return [stays.get(_identity(deb), deb) for deb in found]
        if not held:
            raise BuildError(
                f"apt cannot satisfy the packages:\n  | {_last_lines(printed.stderr + printed.stdout)}",
                hint="correct `packages` in profiles/, or the sources of the base",
            )
        held -= _blamed(printed.text, held) or held


def _removed(packages: Sequence[str], env: dict[str, str]) -> tuple[str, ...]:
    """The installed packages that apt removes because they conflict with `packages` (apt-get(8), --simulate)."""
    told = run(["apt-get", "install", "--simulate", "--yes", "--quiet", *packages], env=env).text
    return tuple(sorted({match[1] for match in _REMOVAL.finditer(told)}))


def _blamed(complaint: str, held: Set[str]) -> set[str]:
    """The `held` packages that apt blames for the conflict: those with a version that another package rejects, or if
    there are none, those that apt cannot install."""
    chosen: set[str] = set()
    absent: set[str] = set()
    whose = ""
    for line in complaint.splitlines():
        whose = match[1] if (match := _WHOSE.match(line)) else whose
        if match := _UNMET.search(line):
            (chosen if match["chosen"] else absent).add(match["name"] if match["name"] in held else whose)
    return chosen & held or absent & held


def _preference(name: str) -> str:
    """A pin to the local archive. Its priority is above that of other archives, and too low for a downgrade of an
    installed package (apt_preferences(5))."""
    return f'Package: {name}\nPin: origin ""\nPin-Priority: 999\n\n'


def _identity(deb: Deb) -> _Identity:
    return deb.name, deb.version, deb.architecture


def _deb(match: re.Match[str]) -> Deb:
    """The .deb of one line of `--print-uris`. apt names the file name_version_architecture.deb, with `%3a` for the
    colon of an epoch. Raises BuildError for a URL without a pool."""
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
    """The Date field of an InRelease or Release file, in seconds since 1970. Raises BuildError without such a field."""
    date = re.search(r"^Date: (.+)$", path.read_text(errors="replace"), re.MULTILINE)
    if date is None:
        raise BuildError("has no Date", where=str(path))
    return int(email.utils.parsedate_to_datetime(date[1]).timestamp())


def _last_lines(output: bytes) -> str:
    return "\n  | ".join(output.decode(errors="replace").strip().splitlines()[-8:])
