"""The command `publish`. It has its own module, because other commands need not import its libraries."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli import texts
from builder.cli.group import PATH, json_option, node_names, profile_names, project_option, verbosity_options
from builder.cli.terminal import Terminal, show_json, show_lines
from builder.publish.collect import images_in, publish_set
from builder.publish.signing import Signers
from builder.store import upkeep
from builder.store.products import Store


@click.command("publish", epilog=texts.CHECKING)
@click.argument("folder", type=PATH, metavar="DIR")
@click.argument("nodes", nargs=-1, metavar="[NODE...]", callback=node_names, shell_complete=profile_names("nodes"))
@click.option("--url", default="", help="Where DIR will be found, for os_list.json.")
@click.option("--sign", "gpg_key", metavar="KEY", help="Sign SHA256SUMS with this key of gpg's.")
@click.option(
    "--minisign",
    "minisign_key",
    type=PATH,
    metavar="FILE",
    help="Sign SHA256SUMS with this secret key of minisign's, which has no password.",
)
@click.option("--output", type=PATH, metavar="DIR", help="[default: output/ of the project]")
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
    store = Store(upkeep.default_root())
    terminal = ctx.ensure_object(Terminal)
    signers = Signers(gpg_key, minisign_key)
    made = publish_set(images, folder, url=url, signers=signers, project=project, store=store, progress=terminal)
    names = [str(path) for path in made]
    if as_json:
        show_json(names)
    else:
        show_lines(names)
