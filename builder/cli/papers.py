"""Commands that tell of images and machines what others want to know: diff, export."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from builder.artifacts import differences, machines
from builder.cli import texts
from builder.cli.group import (
    json_option,
    node_names,
    open_project,
    profile_names,
    project_option,
    role_option,
    verbosity_options,
)
from builder.forms.image_file import manifest_of
from builder.errors import ConfigurationError
from builder.fleet import fleet

SIDE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("diff", epilog=texts.DIFFERENCES)
@click.argument("a", type=SIDE)
@click.argument("b", type=SIDE)
@json_option
@verbosity_options
@click.pass_context
def diff_command(ctx: click.Context, /, *, a: Path, b: Path, as_json: bool) -> None:
    """Tell what differs between two images.

    A and B are images with their manifests beside them, manifests, or plans as `pimu-build plan --json` prints them, in
    any mixture. Two images are compared file by file, by what their manifests say (`pimu-build verify` proves it), with
    their settings, locks and partitions; a plan knows what would be asked for only. Exits with 1 if something differs.
    """
    found = differences.compare(_side(a), _side(b))
    if as_json:
        data = {"same": not found.differences, **asdict(found)}
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(differences.to_lines(found)) or f"{a} and {b}: no difference")
    ctx.exit(1 if found.differences else 0)


def _side(path: Path) -> differences.Side:
    """A file that begins as JSON does is read once: it may be a pipe."""
    try:
        with path.open("rb") as file:
            head = file.read(1)
            content = head + file.read() if head == b"{" else b""
        text = content.decode()
    except OSError as refused:
        raise ConfigurationError(f"cannot be read: {refused.strerror}", where=str(path)) from refused
    except UnicodeDecodeError as broken:
        raise ConfigurationError("is not UTF-8 text", where=str(path)) from broken
    if text:
        return differences.side_of(text, str(path))
    manifest = manifest_of(path)
    if path.stat().st_size != manifest.image.size:
        raise ConfigurationError(
            f"has {path.stat().st_size} bytes, and {manifest.image.size} by the manifest beside it",
            where=str(path),
            hint=f"pimu-build verify {path}",
        )
    return differences.side_of(manifest.to_json(), str(path))


@click.command("export", epilog=texts.FOR_THE_ROUTER)
@click.argument("form", type=click.Choice(list(machines.TEXTS)), metavar="hosts|dnsmasq|json")
@click.argument("nodes", nargs=-1, metavar="[NODE...]", callback=node_names, shell_complete=profile_names("nodes"))
@role_option
@project_option
@verbosity_options
@click.pass_context
def export_command(
    ctx: click.Context, /, *, form: machines.Format, nodes: tuple[str, ...], role: str | None, project: Path
) -> None:
    """Print every node's and guest's name, MAC address and address, for the router.

    Names give MAC addresses, so a router can know the machines before there are any: `hosts` for /etc/hosts, `dnsmasq`
    for reservations in /etc/dnsmasq.d, `json` for all others. Without a NODE, those of profiles/nodes/; --role is for
    nodes whose file names none, and for those without a file.
    """
    found = fleet(open_project(ctx, project), nodes, role)
    click.echo(machines.TEXTS[form](found), nl=False)
