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
@click.option("--url", default="", help="Future address of DIR, for os_list.json.")
@click.option("--sign", "gpg_key", metavar="KEY", help="Sign SHA256SUMS with this key in gpg.")
@click.option(
    "--minisign",
    "minisign_key",
    type=PATH,
    metavar="FILE",
    help="Sign SHA256SUMS with this secret key of minisign. It must have no password.",
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

    The smallest image of each NODE (default: of all nodes in the output folder) is compared with its manifest again and
    copied to the new folder DIR, with its manifest, a map for bmaptool and a bill of materials (SPDX 2.3). The folder
    also gets SHA256SUMS, os_list.json for Raspberry Pi Imager and a statement about the origin of the images (SLSA
    provenance). An image that holds a secret is refused.
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
