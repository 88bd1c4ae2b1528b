"""The commands for the SSD: flash, list-disks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import click

from builder.build import BuildOptions, make_plans, stamped
from builder.cli import disk_texts
from builder.cli.flash_input import Given, image_job, log_folder
from builder.cli.group import (
    FILE,
    PATH,
    base_option,
    json_option,
    preset_option,
    profile_names,
    project_option,
    role_option,
    verbosity_options,
)
from builder.cli.opening import open_project
from builder.cli.terminal import Terminal, show, show_json, show_lines
from builder.errors import FlashRefusedError
from builder.flash import DEFAULT_MAX_SIZE, Job, Shown, Wanted, flash, list_disks, require_free, stamped_image
from builder.image.forms import FORMS
from builder.model.values import parse_size
from builder.project import Project
from builder.store import upkeep


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes of a size in the form of profiles: 2TB, 500GiB."""
    try:
        return int(str(parse_size(value)))
    except ValueError as wrong:
        raise click.BadParameter(f"{value!r} {wrong}", ctx, param) from wrong


@click.command("flash", epilog=disk_texts.FLASHING)
@click.argument("what", metavar="IMAGE|NODE", shell_complete=profile_names("nodes"))
@click.argument("device", type=PATH)
@click.option(
    "--token-file",
    type=FILE,
    metavar="FILE",
    help="The k3s token, for an image without secrets.",
)
@click.option(
    "--set",
    "set_file",
    type=FILE,
    metavar="FILE",
    help="Secrets of all kinds, as YAML: `k3s-token: ...`.",
)
@click.option(
    "--signer",
    type=FILE,
    metavar="FILE",
    help="A public key of minisign or OpenPGP: refuse an IMAGE whose set it has not signed.",
)
@click.option("--require-signature", is_flag=True, help="Refuse an IMAGE that no key of profiles/signers/ has signed.")
@click.option("--expect-serial", metavar="SERIAL", help="For scripts: ask nothing, and write to this disk only.")
@click.option("--overwrite-existing", is_flag=True, help="Give up the disk's content, even if it is not this node's.")
@click.option(
    "--max-size",
    callback=_size,
    default=f"{DEFAULT_MAX_SIZE // 1000**3}GB",
    show_default=True,
    metavar="SIZE",
    help="Refuse larger disks, which hold people's backups.",
)
@role_option
@base_option
@preset_option
@project_option
@click.option("--offline", is_flag=True, help="Of a NODE: use the cache alone; never open a connection.")
@click.option("--locked", is_flag=True, help="Of a NODE: take only files that pimu.lock names; never change it.")
@json_option
@verbosity_options
@click.pass_context
def flash_command(
    ctx: click.Context,
    /,
    *,
    what: str,
    device: Path,
    token_file: Path | None,
    set_file: Path | None,
    signer: Path | None,
    require_signature: bool,
    expect_serial: str | None,
    overwrite_existing: bool,
    max_size: int,
    role: str | None,
    base: str | None,
    preset: str | None,
    project: Path,
    offline: bool,
    locked: bool,
    as_json: bool,
) -> None:
    """Write an image to the disk DEVICE, and read it back.

    IMAGE is a file that a build has made, of any form. A NODE is built and goes straight to the disk, as profiles/ say
    now; no image is written anywhere else. Secrets that an IMAGE lacks are given to the disk alone: by --token-file,
    by --set, or typed. Its manifest, which may be a stranger's, only names them. The secrets of a NODE are found as in
    a build. Who signed the set of an IMAGE is said, by the keys in profiles/signers/.

    All that is on that disk is lost. It shows which disk it is, and has you type the end of its serial number. Refused
    with 7, and nothing written, when anything speaks against it: this machine stands on the disk, something of it is
    mounted, it holds a stranger's files, it is as large as disks for backups.
    """
    terminal = ctx.ensure_object(Terminal)
    options = BuildOptions(
        output=project / "output",
        cache=upkeep.default_root(),
        role=role,
        base=base,
        preset=preset,
        offline=offline,
        locked=locked,
        ask=terminal.ask,
    )
    given = Given(project, terminal, token_file, set_file, signer, require_signature)
    wanted = Wanted(max_size=max_size, overwrite_existing=overwrite_existing, expect_serial=expect_serial)
    in_use = _in_use(what, project, options.cache)
    if _is_image(what):
        making: AbstractContextManager[Job] = nullcontext(image_job(ctx, Path(what), options, given))
    else:
        given.require_none_of_an_image(ctx)
        require_free(device, wanted, in_use)  # before minutes of building
        making = _node_job(open_project(ctx, project), what, options, given)
    with making as job:
        node = job.manifest.node
        confirm = partial(_confirm, node=node, expect_serial=expect_serial, terminal=terminal)
        written = flash(job, device, wanted.of(job.manifest), in_use=in_use, confirm=confirm, progress=terminal)
    if as_json:
        show_json(disk_texts.written_data(what, device, node, written))
    else:
        show(disk_texts.written_text(device, node, written))


def _is_image(what: str) -> bool:
    """Whether a word means an image's file. No node can have such a name."""
    return "/" in what or what.endswith(FORMS) or Path(what).is_file()


def _in_use(what: str, project: Path, store: Path) -> dict[str, Path]:
    """Files and folders that this run uses, by a name for messages. A disk with one of them must not be overwritten."""
    in_use = {"the project": project.absolute(), "the cache": store, "this program": Path(__file__)}
    image = Path(what)
    return in_use | ({"the image": image, "the folder of the image": image.absolute().parent} if image.exists() else {})


@contextmanager
def _node_job(project: Project, node: str, options: BuildOptions, given: Given) -> Iterator[Job]:
    (plan,) = make_plans(project, [node], options.role, options.base, preset=options.preset)
    secrets = given.of_node(plan)
    with stamped(project, plan, secrets, options, given.terminal) as (golden, stamp, manifest):
        yield Job(manifest, stamped_image(golden.image, stamp.delta, manifest), secrets, log_folder(options.output))


def _confirm(shown: Shown, node: str, expect_serial: str | None, terminal: Terminal) -> None:
    """Ask the user to confirm the disk. With --expect-serial nothing is asked, because the serial number was checked.
    Raises FlashRefusedError."""
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
    for data in shown.data:
        question = f"This disk holds {shown.owner}'s {data}. To give it up, type {shown.owner}"
        if terminal.ask_openly(question) != shown.owner:
            raise FlashRefusedError(f"keeps {shown.owner}'s {data}; nothing was written", where=where)


@click.command("list-disks")
@json_option
@verbosity_options
def list_command(as_json: bool) -> None:
    """List disks, and say which could be flashed.

    What is on each, and why it would be refused, as far as that can be told without opening it.
    """
    disks = list_disks()
    if as_json:
        show_json(disk_texts.disks_data(disks))
    else:
        show_lines(disk_texts.disks_lines(disks), otherwise="there is no disk here")
