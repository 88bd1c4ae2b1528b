"""The commands for a node or its image: build, plan, render, verify. Each calls another room, and prints the result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast, get_args

import click

from builder import plan, verify
from builder.build import BuildOptions, build, make_plans
from builder.cli import texts
from builder.cli.group import (
    FILE,
    PATH,
    base_option,
    guest_option,
    json_option,
    node_names,
    preset_option,
    profile_names,
    project_option,
    role_option,
    verbosity_options,
)
from builder.cli.opening import open_project
from builder.cli.terminal import Terminal, show, show_json, show_lines
from builder.errors import VerifyMismatchError
from builder.export import render
from builder.flash.check import examine_disk
from builder.image.forms import Compression, manifest_of, raw
from builder.secrets.resolve import secrets_of
from builder.store import upkeep
from builder.store.products import Store
from builder.text import escaped_json


@click.command("build")
@click.argument(
    "nodes", nargs=-1, required=True, metavar="NODE...", callback=node_names, shell_complete=profile_names("nodes")
)
@role_option
@base_option
@preset_option
@project_option
@click.option("--output", type=PATH, metavar="DIR", help="[default: output/ of the project]")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Nodes at once.  [default: one per processor]")
@click.option("--offline", is_flag=True, help="Use what is in the cache; never open a connection.")
@click.option("--locked", is_flag=True, help="Take only what pimu.lock names; never change it.")
@click.option(
    "--compress",
    type=click.Choice(["none", *get_args(Compression)]),
    default="none",
    help="Write NODE.img.zst or NODE.img.xz in place of NODE.img; further nodes cost little.",
)
@click.option(
    "--without-secrets",
    is_flag=True,
    help="Leave out tokens and passwords, for an image that others may have; `flash` gives them to the disk.",
)
@click.option(
    "--trust-packages",
    is_flag=True,
    help="Where the kernel refuses a boundary, configure packages without one: they can do here what you can. Mount "
    "namespaces are needed even then.",
)
@click.option("--sha256", is_flag=True, help="Write IMAGE.sha256 too.")
@click.option("--bake-twice", is_flag=True, help="Bake each layer of packages once more; name each file that differs.")
@json_option
@verbosity_options
@click.pass_context
def build_command(
    ctx: click.Context,
    /,
    *,
    nodes: tuple[str, ...],
    role: str | None,
    base: str | None,
    preset: str | None,
    project: Path,
    output: Path | None,
    jobs: int | None,
    offline: bool,
    locked: bool,
    compress: str,
    without_secrets: bool,
    trust_packages: bool,
    sha256: bool,
    bake_twice: bool,
    as_json: bool,
) -> None:
    """Build images (the word `build` may be left out).

    Each NODE becomes DIR/NODE.img with its manifest beside it. An image that is already what it should be is kept.
    """
    terminal = ctx.ensure_object(Terminal)
    options = BuildOptions(
        output=output or project / "output",
        cache=upkeep.default_root(),
        role=role,
        base=base,
        preset=preset,
        jobs=jobs or os.cpu_count() or 1,
        offline=offline,
        locked=locked,
        sha256=sha256,
        compression=None if compress == "none" else cast(Compression, compress),
        without_secrets=without_secrets,
        bake_twice=bake_twice,
        trust_packages=trust_packages,
        ask=terminal.ask,
    )
    made = build(open_project(ctx, project), nodes, options, terminal)
    if as_json:
        show_json([texts.built_data(one) for one in made])
    elif terminal.quiet:
        show_lines(str(one.image) for one in made)
    else:
        show("\n\n".join(texts.built_text(one, project) for one in made))


@click.command("plan")
@click.argument("node", callback=node_names, shell_complete=profile_names("nodes"))
@role_option
@base_option
@preset_option
@project_option
@json_option
@verbosity_options
@click.pass_context
def plan_command(
    ctx: click.Context,
    /,
    *,
    node: str,
    role: str | None,
    base: str | None,
    preset: str | None,
    project: Path,
    as_json: bool,
) -> None:
    """Show what would be baked in, and who asked for it.

    One line per edit, with the feature that asked and the file that set it. Needs no root, no network and no tools.
    """
    opened = open_project(ctx, project)
    (made,) = make_plans(opened, [node], role, base, preset=preset)
    if as_json:
        show(escaped_json(plan.to_json(made).rstrip()))
    else:
        show_lines([*plan.to_lines(made), *texts.outside_lines(opened.root, opened.references, secrets_of(made))])


@click.command("render", epilog=texts.BY_HAND)
@click.argument("node", callback=node_names, shell_complete=profile_names("nodes"))
@role_option
@base_option
@guest_option
@click.option("--to", type=PATH, metavar="DIR", help="Write the files into this folder.")
@click.option("--force", is_flag=True, help="Replace files in DIR that have other content.")
@project_option
@json_option
@verbosity_options
@click.pass_context
def render_command(
    ctx: click.Context,
    /,
    *,
    node: str,
    role: str | None,
    base: str | None,
    guest: str | None,
    to: Path | None,
    force: bool,
    project: Path,
    as_json: bool,
) -> None:
    """Show cloud-init/ as NODE's guest gets it, or write it out.

    A build puts these files onto the guest's seed disk by itself; this is for reading them, and for setting up a guest
    by hand. Without --to they go to stdout, one after the other. A secret is shown as the reference that profiles/ give
    for it, and never written.
    """
    if force and to is None:
        raise click.UsageError("--force is about the files of --to DIR", ctx)
    folder = open_project(ctx, project)
    (made,) = make_plans(folder, [node], role, base, guest)
    files = render.render(folder, made)
    written = render.write(files, to, force=force) if to is not None else []
    for file in files:
        if to is not None and file.secret is not None:
            ctx.ensure_object(Terminal).line(f"{to / file.name}: not written, it is a secret: <{file.secret}>")
    if as_json:
        show_json(texts.rendered_data(files, to))
    elif to is not None:
        show_lines(map(str, written))
    else:
        show("\n".join(texts.rendered_lines(files)))


@click.command("verify")
@click.argument("path", type=FILE, metavar="IMAGE|DEVICE")
@click.argument("node", required=False, shell_complete=profile_names("nodes"))
@project_option
@json_option
@verbosity_options
@click.pass_context
def verify_command(ctx: click.Context, /, *, path: Path, node: str | None, project: Path, as_json: bool) -> None:
    """Prove an image, or a flashed disk, by its manifest.

    That of an image lies beside it, that of a disk is NODE's in output/. Every byte, every edit as a mount shows it,
    and both file systems; a compressed image is unpacked for that. A disk is only read, and must not have been in a Pi
    since: what boots from it changes it. Exits with 8 when something differs.
    """
    terminal = ctx.ensure_object(Terminal)
    if path.is_block_device():
        if node is None:
            raise click.UsageError(f"{path} is a disk: say which node's it should be", ctx)
        report = examine_disk(path, manifest_of(project / "output" / f"{node}.img"), terminal)
    elif node is not None:
        raise click.UsageError(f"{path} is no disk, and an image has its manifest beside it", ctx)
    else:
        manifest = manifest_of(path)
        with raw(path, manifest.image, Store(upkeep.default_root()), terminal) as unpacked:
            report = verify.examine(unpacked, manifest, terminal)
    if not as_json:
        verify.require_alike(path, report)
        show(texts.report_text(path, report))
        return
    show_json(texts.report_data(path, report))
    if report.mismatches:
        raise VerifyMismatchError(f"differs from its manifest in {len(report.mismatches)} places", where=str(path))
