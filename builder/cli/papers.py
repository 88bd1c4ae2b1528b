"""Commands that tell of images and machines what others want to know: diff, export, publish."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from builder import cache
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
from builder.cli.terminal import Terminal
from builder.disk.chunks import is_image
from builder.errors import ConfigurationError, VerifyMismatchError
from builder.fleet import fleet
from builder.forms.image_file import manifest_of, raw
from builder.release import images_in, publish_set
from builder.signing import Signers
from builder.store import Store

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
    any mixture. Two images are compared file by file, with their settings, locks and partitions, by what their
    manifests say; every byte of an image is read first, and one that is not its manifest's ends the command with 8. A
    plan knows what would be asked for only. Exits with 1 if something differs.
    """
    terminal = ctx.ensure_object(Terminal)
    found = differences.compare(_side(a, terminal), _side(b, terminal))
    if as_json:
        data = {"same": found.same, **asdict(found)}
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(differences.to_lines(found)) or f"{a} and {b}: no difference")
    ctx.exit(0 if found.same else 1)


def _side(path: Path, terminal: Terminal) -> differences.Side:
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
    terminal.step("diff", f"compare {path.name} with its manifest")
    with raw(path, manifest.image, Store(cache.default_root()), terminal) as whole:
        if not is_image(whole, manifest.image):
            raise VerifyMismatchError(
                "is not what the manifest beside it says, which tells nothing of it then",
                where=str(path),
                hint=f"`pimu-build verify {path}` names what was changed",
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
    """Print names, MAC addresses and addresses for the router.

    Of every node and its guest. Names give MAC addresses, so a router can know the machines before there are any:
    `hosts` for /etc/hosts, `dnsmasq` for reservations in /etc/dnsmasq.d, `json` for all others. Without a NODE, those
    of profiles/nodes/; --role is for nodes whose file names none, and for those without a file.
    """
    found = fleet(open_project(ctx, project), nodes, role)
    click.echo(machines.TEXTS[form](found), nl=False)


@click.command("publish", epilog=texts.CHECKING)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("nodes", nargs=-1, metavar="[NODE...]", callback=node_names, shell_complete=profile_names("nodes"))
@click.option("--url", default="", help="Where DIR will be found, for os_list.json.")
@click.option("--sign", "gpg_key", metavar="KEY", help="Sign SHA256SUMS with this key of gpg's.")
@click.option(
    "--minisign",
    "minisign_key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign SHA256SUMS with this secret key of minisign's, which has no password.",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="[default: output/ of the project]")
@project_option
@json_option
@verbosity_options
@click.pass_context
def publish_command(
    ctx: click.Context,
    /,
    *,
    folder: Path,
    nodes: tuple[str, ...],
    url: str,
    gpg_key: str | None,
    minisign_key: Path | None,
    output: Path | None,
    project: Path,
    as_json: bool,
) -> None:
    """Gather images that anybody may have, with their papers.

    Of each NODE (without one: of all in the output folder) its smallest image is proved by its manifest once more and
    copied to the new folder DIR, with a map for bmaptool, a bill of materials (SPDX 2.3), its manifest; and for all of
    them SHA256SUMS, os_list.json for Raspberry Pi Imager and a statement of where they come from (SLSA provenance). An
    image that holds a secret is refused.
    """
    images = images_in(output or project / "output", nodes)
    store = Store(cache.default_root())
    terminal = ctx.ensure_object(Terminal)
    signers = Signers(gpg_key, minisign_key)
    made = publish_set(images, folder, url=url, signers=signers, project=project, store=store, progress=terminal)
    click.echo(json.dumps([str(path) for path in made], indent=2) if as_json else "\n".join(map(str, made)))
