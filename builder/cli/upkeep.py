"""The commands for the machine and the project: doctor, fetch, lock, k3s-ca, completion."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from builder import doctor
from builder.build import relock
from builder.cli import texts
from builder.cli.group import (
    FILE,
    PATH,
    base_option,
    json_option,
    profile_option,
    project_option,
    verbosity_options,
)
from builder.cli.opening import open_project
from builder.cli.terminal import Terminal, show, show_json, show_lines
from builder.errors import MissingToolError
from builder.lock.lock_file import LOCK_FILE, read_lock
from builder.lock.prefetch import prefetch
from builder.store import upkeep


@click.command("doctor")
@project_option
@json_option
@verbosity_options
def doctor_command(project: Path, as_json: bool) -> None:
    """Look whether this machine is ready.

    Tools with their versions, why they are needed and how to install them; KVM, namespaces and the like are really
    tried. Exits with 5 when something is missing.
    """
    findings = doctor.examine(upkeep.default_root(), project.absolute() / "output")
    if as_json:
        show_json(texts.findings_data(findings))
    else:
        show_lines(texts.findings_lines(findings))
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if missing:
        raise MissingToolError(f"missing here: {', '.join(missing)}", hint="`make setup` installs what Debian has")


@click.command("fetch")
@base_option
@profile_option("guest", "Also the ISO or cloud image of this file in profiles/guests/, confirmed and locked.")
@click.option(
    "--import",
    "files",
    type=FILE,
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
    told = prefetch(folder, upkeep.default_root(), files, terminal, base=base, guest=guest)
    show_lines(told)


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
        changes = relock(folder, names, upkeep.default_root(), ctx.ensure_object(Terminal))
        lines = [change.describe() for change in changes] or [f"{path}: the archives have nothing newer"]
        if as_json:
            show_json(list(map(asdict, changes)))
        else:
            show_lines(lines)
        return
    lock = read_lock(path)
    if as_json:
        show_json(list(texts.lock_data(lock)))
    else:
        show_lines(texts.lock_lines(lock), otherwise=f"{path}: nothing is locked yet")


@click.command("k3s-ca")
@click.option("--to", "file", type=PATH, required=True, metavar="FILE", help="A new file.")
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
    from builder.secrets.k3s_ca import write_ca  # noqa: PLC0415

    write_ca(name, file)
    show(f"{file}: say `ca: file:{file}` under k3s in profiles/cluster.yaml, before a node of it first starts")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, /, *, shell: str) -> None:
    """Print a shell completion script.

    For example in ~/.bashrc: source <(pimu-build completion bash)
    """
    completion = get_completion_class(shell)
    assert completion is not None
    show(completion(ctx.find_root().command, {}, "pimu-build", "_PIMU_BUILD_COMPLETE").source())
