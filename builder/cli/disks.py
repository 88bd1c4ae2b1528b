"""Commands around the SSD: flash, list-disks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click

from builder import cache
from builder.build import BuildOptions, make_plans, stamped
from builder.cli import disk_texts
from builder.cli.group import (
    base_option,
    json_option,
    open_project,
    preset_option,
    profile_names,
    project_option,
    role_option,
    verbosity_options,
)
from builder.cli.terminal import Terminal
from builder.errors import ConfigurationError, FlashRefusedError
from builder.flash import (
    DEFAULT_MAX_SIZE,
    Job,
    Shown,
    Wanted,
    flash,
    image_file,
    list_disks,
    pending_secrets,
    require_free,
    stamped_image,
)
from builder.forms.image_file import FORMS, manifest_of
from builder.model.patches import SecretRef
from builder.model.values import parse_size
from builder.project import Project
from builder.secrets import Secrets, given_secrets, secrets_of


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """As in profiles: 2TB, 500GiB."""
    try:
        return int(str(parse_size(value)))
    except ValueError as wrong:
        raise click.BadParameter(f"{value!r} {wrong}", ctx, param) from wrong


@click.command("flash", epilog=disk_texts.FLASHING)
@click.argument("what", metavar="IMAGE|NODE", shell_complete=profile_names("nodes"))
@click.argument("device", type=click.Path(path_type=Path))
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The k3s token, for an image without secrets.",
)
@click.option(
    "--set",
    "set_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Secrets of all kinds, as YAML: `k3s-token: ...`.",
)
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
@role_option
@base_option
@preset_option
@project_option
@click.option("--offline", is_flag=True, help="Of a NODE: use what is in the cache; never open a connection.")
@click.option("--locked", is_flag=True, help="Of a NODE: take only what pimu.lock names; never change it.")
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
    now; no image is written anywhere else. What an IMAGE lacks of secrets is given to the disk alone: by --token-file
    and --set, or as a build would find it.

    All that is on that disk is lost. It shows which disk it is, and has you type the end of its serial number. Refused
    with 7, and nothing written, when anything speaks against it: this machine stands on the disk, something of it is
    mounted, it holds a stranger's files, it is as large as disks for backups.
    """
    terminal = ctx.ensure_object(Terminal)
    options = BuildOptions(
        output=project / "output",
        cache=cache.default_root(),
        role=role,
        base=base,
        preset=preset,
        offline=offline,
        locked=locked,
        ask=terminal.ask,
    )
    given = _Given(project, token_file, set_file, terminal)
    wanted = Wanted(max_size=max_size, overwrite_existing=overwrite_existing, expect_serial=expect_serial)
    in_use = _in_use(what, project, options.cache)
    if _is_image(what):
        making: AbstractContextManager[Job] = nullcontext(_image_job(ctx, Path(what), options, given))
    else:
        require_free(device, wanted, in_use)  # before minutes of building
        making = _node_job(open_project(ctx, project), what, options, given)
    with making as job:
        node = job.manifest.node
        written = flash(
            job,
            device,
            wanted.of(job.manifest),
            in_use=in_use,
            confirm=lambda shown: _confirm(shown, node, expect_serial, terminal),
            progress=terminal,
        )
    data, text = disk_texts.written_data(what, device, node, written), disk_texts.written_text(device, node, written)
    click.echo(json.dumps(data, indent=2) if as_json else text)


def _is_image(what: str) -> bool:
    """A node has no such name."""
    return "/" in what or what.endswith(FORMS) or Path(what).is_file()


@dataclass(frozen=True, slots=True)
class _Given:
    """Where secrets come from."""

    project: Path
    token_file: Path | None
    set_file: Path | None
    terminal: Terminal

    def secrets(self, wanted: Sequence[SecretRef]) -> Secrets:
        """Which has all of these. Raises ConfigurationError."""
        if not wanted and (self.token_file or self.set_file):
            raise ConfigurationError(
                "holds its secrets already, or needs none", hint="leave out --token-file and --set"
            )
        given = given_secrets(wanted, self.token_file, self.set_file)
        secrets = Secrets(self.project, self.terminal.ask, given)
        for secret in wanted:
            try:
                secrets.require([secret])
            except ConfigurationError as fault:
                if secret.reference not in given:
                    fault.hint = (
                        f"give it with --set FILE (`{secret.kind}: ...`), or a k3s token with --token-file FILE"
                    )
                raise
        return secrets


def _in_use(what: str, project: Path, store: Path) -> dict[str, Path]:
    """What this run stands on."""
    in_use = {"the project": project.absolute(), "the cache": store, "this program": Path(__file__)}
    image = Path(what)
    return in_use | ({"the image": image, "the folder of the image": image.absolute().parent} if image.exists() else {})


def _image_job(ctx: click.Context, image: Path, options: BuildOptions, given: _Given) -> Job:
    if options.role or options.base or options.preset or options.offline or options.locked:
        raise click.UsageError("--role, --base, --preset, --offline and --locked are about a NODE", ctx)
    if not image.is_file():
        raise click.UsageError(f"there is no image {image}", ctx)
    manifest = manifest_of(image)
    secrets = given.secrets(pending_secrets(manifest))
    return Job(manifest, image_file(image, manifest, given.terminal), secrets)


@contextmanager
def _node_job(project: Project, node: str, options: BuildOptions, given: _Given) -> Iterator[Job]:
    (plan,) = make_plans(project, [node], options.role, options.base, preset=options.preset)
    secrets = given.secrets(list(secrets_of(plan)))
    with stamped(project, plan, secrets, options, given.terminal) as (golden, stamp, manifest):
        yield Job(manifest, stamped_image(golden.image, stamp.delta, manifest), secrets)


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
