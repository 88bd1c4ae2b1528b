"""The command boot: start an image on an emulated Pi, with a console or with checks."""

from __future__ import annotations

from pathlib import Path

import click

from builder import boot, verify
from builder.cli import texts
from builder.cli.group import FILE, PATH, json_option, project_option, verbosity_options
from builder.cli.terminal import Terminal, show_json, show_lines
from builder.errors import BuildError, ConfigurationError
from builder.image.forms import manifest_of, raw
from builder.machines.network import Place, places_of
from builder.store import upkeep
from builder.store.products import Store


def _places(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Place, ...]:
    try:
        return places_of(values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from error


@click.command("boot")
@click.argument("image", type=FILE)
@click.option("--check", is_flag=True, help="Log in and look, instead of opening the console. Takes minutes.")
@click.option(
    "--identity",
    type=FILE,
    metavar="FILE",
    help="Private ssh key to log in with.  [default: profiles/access/id_ed25519 of the project]",
)
@click.option(
    "--reach",
    multiple=True,
    metavar="ADDRESS:PORT",
    callback=_places,
    help="Let it reach this TCP port; that of 127.0.0.1 is at its gateway. May be given more than once.",
)
@click.option(
    "--network",
    type=click.Choice(["closed", "open"]),
    default="closed",
    help="open: it reaches the internet, the LAN and every service on this host's 127.0.0.1.  [default: closed]",
)
@click.option("--logs", type=PATH, metavar="DIR", help="Serial logs.  [default: beside IMAGE]")
@project_option
@json_option
@verbosity_options
@click.pass_context
def boot_command(
    ctx: click.Context,
    /,
    *,
    image: Path,
    check: bool,
    identity: Path | None,
    reach: tuple[Place, ...],
    network: str,
    logs: Path | None,
    project: Path,
    as_json: bool,
) -> None:
    """Open an image's console on an emulated Pi.

    It is a scratch copy that boots, and nothing is kept. The image is compared with its manifest first.
    Ctrl-A X leaves.
    With --check nobody has to watch: it is booted twice, logged into and compared with its plan.

    The Pi reaches no network but what --reach names; its own ssh is forwarded to 127.0.0.1.
    """
    if network == "open" and reach:
        raise click.UsageError("--network open reaches everything already: leave out --reach", ctx)
    manifest, terminal = manifest_of(image), ctx.ensure_object(Terminal)
    key = identity or project / texts.ACCESS_KEY
    if check and not key.is_file():
        raise ConfigurationError("there is no such private key", where=str(key), hint="name one with --identity FILE")
    if network == "open":
        terminal.line("--network open: the image reaches the internet, the LAN and every service on 127.0.0.1")
    access = boot.Access(reach, everything=network == "open")
    with raw(image, manifest.image, Store(upkeep.default_root()), terminal) as unpacked:
        terminal.step("boot", f"compare {image.name} with its manifest")
        verify.require_digests(unpacked, manifest, where=str(image))
        if not check:
            boot.console(unpacked, manifest, key.absolute() if key.is_file() else None, access, terminal)
            return
        results = boot.check(unpacked, manifest, key, logs or image.with_suffix(".boot"), terminal, access=access)
    if as_json:
        show_json(texts.checks_data(results))
    else:
        show_lines(texts.checks_lines(results))
    failed = sum(not result.passed for result in results)
    if failed:
        raise BuildError(f"{failed} of {len(results)} checks failed", where=str(image))
