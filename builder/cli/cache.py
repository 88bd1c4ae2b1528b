"""The commands for the cache."""

from __future__ import annotations

import time

import click

import builder.build  # noqa: F401  (its makers register themselves)
from builder.cli import texts
from builder.cli.group import json_option, verbosity_options
from builder.cli.terminal import Terminal, show, show_json, show_lines
from builder.errors import DownloadError
from builder.host import tools
from builder.host.run import which
from builder.store import upkeep
from builder.store.step import MAKERS


@click.group("cache")
def cache_group() -> None:
    """Show, check or empty the cache.

    It holds downloads, layers and golden images, in $PIMU_CACHE or ~/.cache/pimu-build.
    """


@cache_group.command("list")
@json_option
@verbosity_options
def cache_list(as_json: bool) -> None:
    """List the content of the cache, the longest unused first.

    Made things bear the names of what they are of: bases, roles, guests. Downloads are known by their digests, and are
    one line; --json has each of them.
    """
    found = upkeep.entries(upkeep.default_root())
    if as_json:
        show_json(texts.entries_data(found))
    else:
        show_lines(texts.entries_lines(found, time.time()))


@cache_group.command("explain")
@click.argument("kind", type=click.Choice(sorted(MAKERS)))
@json_option
@verbosity_options
def cache_explain(kind: str, as_json: bool) -> None:
    """Print the code and the programs that shape a KIND of made things.

    A change of any of these makes each thing of this kind anew. `pimu-build NODE -v` tells what has changed.
    """
    maker = MAKERS[kind]
    code = maker.closure(upkeep.default_root())
    versions = tools.versions([program for program in code.programs if which(program)])
    if as_json:
        facts = {"kind": kind, "module": maker.module, "function": maker.function, "code": code.digest}
        show_json({**facts, "tools": versions, "parts": code.parts})
    else:
        show_lines(texts.closure_lines(maker, code, versions))


@cache_group.command("verify")
@verbosity_options
@click.pass_context
def cache_verify(ctx: click.Context) -> None:
    """Hash everything again, and remove damaged files and products.

    The next build makes it anew. Exits with 4 when something was damaged.
    """
    root = upkeep.default_root()
    damaged = upkeep.damaged(root, ctx.ensure_object(Terminal))
    if damaged:
        upkeep.remove(root, damaged)
        names = "\n".join(f"  removed {entry.path}" for entry in damaged)
        raise DownloadError(f"{len(damaged)} things in the cache were damaged\n{names}", hint="build again")
    show(f"{root}: everything is whole")


@cache_group.command("prune")
@click.option("--days", type=click.FloatRange(0), help="Unused for so long; 0: all.  [default: 30, without --to]")
@click.option("--to", "gib", type=click.FloatRange(0), metavar="GIB", help="The longest unused, until so much is left.")
@verbosity_options
def cache_prune(days: float | None, gib: float | None) -> None:
    """Remove products and downloads that no build has used for a while, and the leftovers of killed runs."""
    root = upkeep.default_root()
    unwanted = upkeep.unused(root, 30 if days is None and gib is None else days, gib)
    upkeep.remove(root, unwanted)
    show(f"removed {len(unwanted)} things, {texts.size(sum(entry.size for entry in unwanted))}")
