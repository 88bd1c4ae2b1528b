"""Commands around the machine and the project: doctor, cache, lock, completion."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from builder import cache, doctor
from builder.build import relock
from builder.cli import texts
from builder.cli.group import (
    base_option,
    json_option,
    open_project,
    profile_option,
    project_option,
    verbosity_options,
)
from builder.cli.terminal import Terminal
from builder.errors import DownloadError, MissingToolError
from builder.lock_file import LOCK_FILE, read_lock
from builder.prefetch import prefetch


@click.command("doctor")
@project_option
@json_option
@verbosity_options
def doctor_command(project: Path, as_json: bool) -> None:
    """Look whether this machine is ready.

    Tools with their versions, why they are needed and how to install them; KVM, namespaces and the like are really
    tried. Exits with 5 when something is missing.
    """
    findings = doctor.examine(cache.default_root(), project.absolute() / "output")
    if as_json:
        click.echo(json.dumps(texts.findings_data(findings), indent=2))
    else:
        click.echo("\n".join(texts.findings_lines(findings)))
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if missing:
        raise MissingToolError(f"missing here: {', '.join(missing)}", hint="`make setup` installs what Debian has")


@click.group("cache")
def cache_group() -> None:
    """Show, check or empty the cache.

    It holds downloads, layers and golden images, in $PIMU_CACHE or ~/.cache/pimu-build.
    """


@cache_group.command("list")
@json_option
@verbosity_options
def cache_list(as_json: bool) -> None:
    """What is in the cache, the longest unused first."""
    found = cache.entries(cache.default_root())
    if as_json:
        click.echo(json.dumps(texts.entries_data(found), indent=2))
    else:
        click.echo("\n".join(texts.entries_lines(found)))


@cache_group.command("verify")
@verbosity_options
@click.pass_context
def cache_verify(ctx: click.Context) -> None:
    """Hash everything again, remove what is damaged.

    The next build makes it anew. Exits with 4 when something was damaged.
    """
    root = cache.default_root()
    damaged = cache.damaged(root, ctx.ensure_object(Terminal))
    if damaged:
        cache.remove(root, damaged)
        names = "\n".join(f"  removed {entry.path}" for entry in damaged)
        raise DownloadError(f"{len(damaged)} things in the cache were damaged\n{names}", hint="build again")
    click.echo(f"{root}: all is what it should be")


@cache_group.command("prune")
@click.option("--days", type=click.FloatRange(0), help="Unused for so long; 0: all.  [default: 30, without --to]")
@click.option("--to", "gib", type=click.FloatRange(0), metavar="GIB", help="The longest unused, until so much is left.")
@verbosity_options
def cache_prune(days: float | None, gib: float | None) -> None:
    """Remove what no build has used for a while."""
    root = cache.default_root()
    unwanted = cache.unused(root, 30 if days is None and gib is None else days, gib)
    cache.remove(root, unwanted)
    click.echo(f"removed {len(unwanted)} things, {texts.size(sum(entry.size for entry in unwanted))}")


@click.command("fetch")
@base_option
@profile_option("guest", "Also the ISO or cloud image of this file in profiles/guests/, confirmed and locked.")
@click.option(
    "--import",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Take this file, downloaded elsewhere, instead; it is known by its sha256. May be given several times.",
)
@project_option
@verbosity_options
@click.pass_context
def fetch_command(
    ctx: click.Context, /, *, base: str | None, guest: str | None, files: tuple[Path, ...], project: Path
) -> None:
    """Fill the cache, so that a later build may be --offline.

    Fetches the packages that pimu.lock names and the image of the base.
    """
    folder, terminal = open_project(ctx, project), ctx.ensure_object(Terminal)
    told = prefetch(folder, cache.default_root(), files, terminal, base=base, guest=guest)
    click.echo("\n".join(told))


@click.command("lock")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--upgrade", is_flag=True, help="Take what the archives have now, and tell what has changed.")
@project_option
@json_option
@verbosity_options
@click.pass_context
def lock_command(ctx: click.Context, /, *, names: tuple[str, ...], upgrade: bool, project: Path, as_json: bool) -> None:
    """Show or renew pimu.lock: what exactly is fetched.

    Name, version and sha256 of every package; the first build writes it, later ones obey it. With --upgrade, NAMEs are
    what is to be renewed, and the rest stays: packages, or what this command lists (its first words are enough).
    `tools` adds the versions of this machine's programs to those that make the same image.
    """
    if names and not upgrade:
        raise click.UsageError("NAMEs are for --upgrade", ctx)
    folder, path = open_project(ctx, project), project / LOCK_FILE
    if upgrade:
        changes = relock(folder, names, cache.default_root(), ctx.ensure_object(Terminal))
        lines = [change.describe() for change in changes] or [f"{path}: the archives have nothing newer"]
        click.echo(json.dumps(list(map(asdict, changes)), indent=2) if as_json else "\n".join(lines))
        return
    lock = read_lock(path)
    if as_json:
        click.echo(json.dumps(list(texts.lock_data(lock)), indent=2))
    else:
        click.echo("\n".join(texts.lock_lines(lock)) or f"{path}: nothing is locked yet")


@click.command("k3s-ca")
@click.option("--to", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@project_option
@verbosity_options
@click.pass_context
def k3s_ca_command(ctx: click.Context, /, *, file: Path, project: Path) -> None:
    """Make the certificate authorities of the k3s cluster.

    With `ca: file:FILE` in cluster.yaml they are the cluster's, and agents know their server before they first see it.
    Keep FILE: it is a secret, and without it the cluster's successor is another one.
    """
    name = open_project(ctx, project).cluster_name
    # cryptography takes a tenth of a second to import.
    from builder.k3s_ca import write_ca  # noqa: PLC0415

    write_ca(name, file)
    click.echo(f"{file}: say `ca: file:{file}` under k3s in profiles/cluster.yaml, before a node of it first starts")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, /, *, shell: str) -> None:
    """Print a shell completion script.

    For example in ~/.bashrc: source <(pimu-build completion bash)
    """
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(ctx.find_root().command, {}, "pimu-build", "_PIMU_BUILD_COMPLETE").source())
