"""Results as text for people and as plain data for JSON. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder import limits
from builder.boot import CheckResult
from builder.build import Built
from builder.doctor import Finding
from builder.errors import ConfigurationError
from builder.export.render import Rendered
from builder.host.files import leaves, read_regular
from builder.model.lock import Lock
from builder.model.patches import SecretRef
from builder.store.closure import Closure
from builder.store.step import Maker
from builder.store.upkeep import Entry
from builder.verify import Report

ACCESS_KEY = Path("profiles/access/id_ed25519")


DIFFERENCES = """\b
Examples:
  pimu-build diff old/node-003.img output/node-003.img
  pimu-build diff output/node-003.img <(pimu-build plan node-003 --json)
                                           what a build would change now
"""


FOR_THE_ROUTER = """\b
Examples:
  pimu-build export dnsmasq >/etc/dnsmasq.d/pimu.conf
  pimu-build export hosts node-003 node-004 --role worker
"""


CHECKING = """\b
Who has the folder checks it with the tools of any Linux:
  sha256sum --check SHA256SUMS
  gpg --verify SHA256SUMS.asc SHA256SUMS
  minisign -V -p PUBLIC_KEY_FILE -m SHA256SUMS
  bmaptool copy --bmap NODE.bmap NODE.img.xz /dev/sdX
"""

BY_HAND = """\b
By hand:
  pimu-build render node-003 --role worker --to files

\b
A NoCloud seed is a FAT or ISO9660 volume of the name CIDATA that holds all but answers:
  xorriso -as mkisofs -V CIDATA -J -r -m answers -o seed.iso files

\b
answers, which only a guest of Alpine's installer has, is for the live system of the
ISO, and erases the disk that it names:
  set -a; . ./answers; set +a; setup-alpine -e -f ./answers
"""


def built_text(built: Built, project: Path) -> str:
    """The path of an image, names and MAC addresses of its machines, and the commands to log in and to flash."""
    settings, identity, key = built.plan.settings, built.plan.identity, project / ACCESS_KEY
    with_key = f"-i {key} " if _opens(key, settings.user.ssh_keys) else ""
    how = f"made in {built.seconds:.1f} s" if built.changed else "was there already, unchanged"
    lines = [
        f"{built.image}  ({how})",
        f"  pi        {settings.hostname}  br0 {identity.bridge_mac or 'has the MAC address of its port'}",
    ]
    if settings.guest != "none":
        lines.append(f"  guest     {settings.guest_hostname}  {identity.guest_mac}")
    flash = f"sudo .venv/bin/pimu-build flash {built.image} /dev/sdX"
    lines += [
        f"  log in    ssh {with_key}{settings.user.name}@{settings.hostname}",
        f"  flash     {flash}    # sdX: the SSD (pimu-build list-disks)",
    ]
    return "\n".join(lines)


def outside_lines(root: Path, references: Mapping[str, str], secrets: Iterable[SecretRef]) -> Iterator[str]:
    """The files outside of the project `root` that a build reads: a heading, then lines `PATH  ORIGIN` for public keys
    and `PATH  KIND` for secrets. Nothing if there are none."""
    named = dict(references)
    for secret in secrets:
        for reference, kind in ((secret.reference, secret.kind), (secret.ca, "k3s-ca")):
            if reference.startswith("file:"):
                named.setdefault(reference.removeprefix("file:"), f"the secret {kind}")
    lines = [f"  {path}  {origin}" for path, origin in sorted(named.items()) if leaves(root, path)]
    if lines:
        yield from ("read from outside of the project", *lines)


def _opens(key: Path, public_keys: Iterable[str]) -> bool:
    try:
        words = read_regular(key.with_suffix(".pub"), limits.PROFILE).decode(errors="replace").split()
    except ConfigurationError:
        return False
    return key.exists() and len(words) > 1 and words[1] in " ".join(public_keys).split()


def built_data(built: Built) -> dict[str, Any]:
    settings, identity = built.plan.settings, built.plan.identity
    has_guest = settings.guest != "none"
    return {
        "node": settings.name,
        "image": str(built.image),
        "manifest": str(built.manifest),
        "changed": built.changed,
        "seconds": round(built.seconds, 3),
        "user": settings.user.name,
        "hostname": settings.hostname,
        "bridge_mac": identity.bridge_mac,
        "guest_hostname": settings.guest_hostname if has_guest else None,
        "guest_mac": identity.guest_mac if has_guest else None,
        "disk_id": f"0x{identity.partuuid}",
    }


def rendered_lines(files: Iterable[Rendered]) -> Iterator[str]:
    """Every file after a line with its name, as `head` prints several files. A secret is shown as its reference."""
    for number, file in enumerate(files):
        yield f"{chr(10) if number else ''}==> {file.name} <=="
        text = file.content.decode(errors="backslashreplace").removesuffix("\n")
        yield text if file.secret is None else f"<{file.secret}>"


def rendered_data(files: Iterable[Rendered], folder: Path | None) -> list[dict[str, Any]]:
    return [
        {
            "name": file.name,
            "path": None if folder is None or file.secret is not None else str(folder / file.name),
            "on_seed": file.on_seed,
            "origin": file.origin,
            "secret": file.secret,
            "text": None if file.secret is not None else file.content.decode(errors="backslashreplace"),
        }
        for file in files
    ]


def report_text(path: Path, report: Report) -> str:
    chunks = f"{report.chunks} chunks"
    if report.filled:
        chunks = f"{report.chunks - report.filled} of {chunks}, {report.filled} were changed for its secrets"
    return f"{path}: as its manifest says ({report.files} paths, {chunks}, 2 file systems)"


def report_data(path: Path, report: Report) -> dict[str, Any]:
    return {
        "image": str(path),
        "files": report.files,
        "chunks": report.chunks,
        "chunks_changed_for_secrets": report.filled,
        "mismatches": [asdict(mismatch) for mismatch in report.mismatches],
    }


def checks_data(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    return [asdict(result) for result in results]


def checks_lines(results: Iterable[CheckResult]) -> Iterator[str]:
    return (f"{'ok' if result.passed else 'FAILED':7}{result.describe()}" for result in results)


def findings_data(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def findings_lines(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.state:8}{finding.name:22}{finding.found} (needed: {finding.needed}): {finding.why}"
        if finding.remedy:
            yield f"{'':8}{'':22}to do: {finding.remedy}"


def entries_data(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    return [{**asdict(entry), "path": str(entry.path)} for entry in entries]


def entries_lines(entries: Sequence[Entry], now: float) -> Iterator[str]:
    """Products with their names, and one line for all downloads. `now` is a Unix time in seconds."""
    downloads = [entry for entry in entries if entry.is_download]
    for entry in entries:
        if not entry.is_download:
            what = entry.what or f"without a name, {entry.name[:12]}"
            yield f"{size(entry.size):>9}  {entry.kind:10}  {_ago(now - entry.used):>14}  {what}"
    if downloads:
        used = _ago(now - max(entry.used for entry in downloads))
        yield f"{size(sum(entry.size for entry in downloads)):>9}  {'downloads':10}  {used:>14}  {len(downloads)} files"
    yield f"{size(sum(entry.size for entry in entries)):>9}  in all"


def _ago(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def closure_lines(maker: Maker, code: Closure, versions: Mapping[str, str]) -> Iterator[str]:
    """The parts of the code, with one line for each module."""
    yield f"{maker.kind}: made by {maker.module}.{maker.function}, code {code.digest[:12]}"
    programs = (f"{program} {versions.get(program) or ''}".strip() for program in code.programs)
    yield f"programs: {', '.join(programs) or 'none'}"
    modules: dict[str, list[str]] = {}
    for part in sorted(code.parts):
        module, _, name = (part, "", "") if "/" in part else part.rpartition(".")
        modules.setdefault(module, []).append(name)
    yield from (f"{module}: {' '.join(names)}".rstrip(": ") for module, names in sorted(modules.items()))


def lock_data(lock: Lock) -> Iterator[dict[str, Any]]:
    for name, resolution in sorted(lock.resolutions.items()):
        packages = {deb.name: deb.version for deb in sorted(resolution.debs)}
        yield {"name": name, "kind": "packages", "epoch": resolution.epoch, "packages": packages}
    for name, image in sorted(lock.images.items()):
        facts = {"url": image.url, "sha256": image.sha256, "size": image.size, "signed_by": image.signed_by}
        yield {"name": name, "kind": "image", **facts}
    for name, file in sorted(lock.files.items()):
        yield {"name": name, "kind": "file", "url": file.url, "sha256": file.sha256, "size": file.size}
    if lock.tools:
        yield {
            "name": "tools",
            "kind": "tools",
            "versions": {name: list(lock.tools[name]) for name in sorted(lock.tools)},
        }


def lock_lines(lock: Lock) -> Iterator[str]:
    for name, resolution in sorted(lock.resolutions.items()):
        when = datetime.fromtimestamp(resolution.epoch, UTC).date()
        total = sum(deb.size for deb in resolution.debs)
        yield f"{name:40}  {len(resolution.debs):4} packages  {size(total):>9}  archive of {when}"
    for name, image in sorted(lock.images.items()):
        signed = f"signed by {image.signed_by[-16:]}" if image.signed_by else "as pinned"
        yield f"{name:40}  {'image':>13}  {size(image.size):>9}  {signed}"
    for name, file in sorted(lock.files.items()):
        yield f"{name:40}  {'file':>13}  {size(file.size):>9}  {file.sha256[:16]}"
    if lock.tools:
        versions = ", ".join(f"{name} {' or '.join(lock.tools[name])}" for name in sorted(lock.tools))
        yield f"{'tools':40}  {versions}"


def size(count: float) -> str:
    """A number of bytes as text, in B, KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
