"""Commands around the SSD: flash, list-disks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from builder import cache
from builder.cli import disk_texts
from builder.cli.group import IMAGE, json_option, project_option, verbosity_options
from builder.cli.terminal import Terminal
from builder.errors import FlashRefusedError
from builder.flash import DEFAULT_MAX_SIZE, Shown, flash, list_disks, wanted_of
from builder.forms.image_file import manifest_of
from builder.model.values import parse_size
from builder.store import Store


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """As in profiles: 2TB, 500GiB."""
    try:
        return int(str(parse_size(value)))
    except ValueError as wrong:
        raise click.BadParameter(f"{value!r} {wrong}", ctx, param) from wrong


@click.command("flash", epilog=disk_texts.FLASHING)
@click.argument("image", type=IMAGE)
@click.argument("device", type=click.Path(path_type=Path))
@click.option("--expect-serial", metavar="SERIAL", help="For scripts: ask nothing, and write to this disk only.")
@click.option("--overwrite-existing", is_flag=True, help="Give up what is on the disk, even if it is not this node's.")
@click.option(
    "--max-size",
    callback=_size,
    default=f"{DEFAULT_MAX_SIZE // 1000**3}GB",
    show_default=True,
    metavar="SIZE",
    help="Refuse larger disks, which hold people's backups.",
)
@project_option
@json_option
@verbosity_options
@click.pass_context
def flash_command(
    ctx: click.Context,
    /,
    *,
    image: Path,
    device: Path,
    expect_serial: str | None,
    overwrite_existing: bool,
    max_size: int,
    project: Path,
    as_json: bool,
) -> None:
    """Write IMAGE to the disk DEVICE, and read it back.

    All that is on that disk is lost. It shows which disk it is, and has you type the end of its serial number. Refused
    with 7, and nothing written, when anything speaks against it: this machine stands on the disk, something of it is
    mounted, it holds a stranger's files, it is as large as disks for backups.
    """
    terminal = ctx.ensure_object(Terminal)
    manifest = manifest_of(image)
    written = flash(
        image,
        manifest,
        device,
        wanted_of(manifest, max_size=max_size, overwrite_existing=overwrite_existing, expect_serial=expect_serial),
        store=Store(cache.default_root()),
        in_use={
            "the image": image,
            "the folder of the image": image.absolute().parent,
            "the project": project.absolute(),
            "the cache": cache.default_root(),
            "this program": Path(__file__),
        },
        confirm=lambda shown: _confirm(shown, manifest.node, expect_serial, terminal),
        progress=terminal,
    )
    if as_json:
        click.echo(json.dumps(disk_texts.written_data(image, device, manifest.node, written), indent=2))
    else:
        click.echo(disk_texts.written_text(device, manifest.node, written))


def _confirm(shown: Shown, node: str, expect_serial: str | None, terminal: Terminal) -> None:
    """Raises FlashRefusedError. With --expect-serial the disk is known already to be the one that is meant."""
    if expect_serial is None or not terminal.quiet:
        terminal.line(disk_texts.shown_text(shown, node))
    if expect_serial is not None:
        return
    identity, where = shown.device.identity, shown.device.path
    if not sys.stdin.isatty():
        hint = f"in a script: --expect-serial {identity.password}"
        raise FlashRefusedError("nobody is here who could confirm it", where=where, hint=hint)
    what = f"the last {len(identity.password_end)} characters of" if identity.serial or identity.wwn else ""
    question = f"To overwrite all of it, type {what} its {identity.password_name}".replace("  ", " ")
    if terminal.ask_openly(question).casefold() != identity.password_end.casefold():
        raise FlashRefusedError("is not the disk that you mean; nothing was written", where=where)
    if (
        shown.gives_up
        and terminal.ask_openly(
            f"The guest of {shown.gives_up} has run from this disk. To give up its data, type {shown.gives_up}"
        )
        != shown.gives_up
    ):
        raise FlashRefusedError(f"keeps the guest of {shown.gives_up}; nothing was written", where=where)


@click.command("list-disks")
@json_option
@verbosity_options
def list_command(as_json: bool) -> None:
    """List disks, and say which could be flashed.

    What is on each, and why it would be refused, as far as that can be told without opening it.
    """
    disks = list_disks()
    if as_json:
        click.echo(json.dumps(disk_texts.disks_data(disks), indent=2))
    else:
        click.echo("\n".join(disk_texts.disks_lines(disks)) or "there is no disk here")
