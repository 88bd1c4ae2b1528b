"""The commands that describe images and machines: diff, export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import click

from builder import limits
from builder.cli import texts
from builder.cli.group import (
    FILE,
    json_option,
    node_names,
    profile_names,
    project_option,
    role_option,
    verbosity_options,
)
from builder.cli.opening import open_project
from builder.cli.terminal import Terminal, show, show_json, show_lines
from builder.errors import ConfigurationError, VerifyMismatchError
from builder.export import machines
from builder.export.fleet import fleet
from builder.fs.chunks import is_image
from builder.fs.owners import differing_blocks, owners
from builder.image.forms import manifest_of, raw
from builder.store import upkeep
from builder.store.products import Store
from builder.verify import differences


@click.command("diff", epilog=texts.DIFFERENCES)
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@json_option
@verbosity_options
@click.pass_context
def diff_command(ctx: click.Context, /, *, a: Path, b: Path, as_json: bool) -> None:
    """Tell what differs between two images.

    A and B are images with their manifests beside them, manifests, or plans as `pimu-build plan --json` prints them, in
    any mixture. Two images are compared file by file, with their settings, locks and partitions, as their
    manifests say; every byte of an image is read first, and one that is not its manifest's ends the command with 8. A
    plan knows what would be asked for only. Exits with 1 if something differs.
    """
    terminal = ctx.ensure_object(Terminal)
    with ExitStack() as stack:
        (side_a, image_a), (side_b, image_b) = (stack.enter_context(_side(path, terminal)) for path in (a, b))
        found = differences.compare(side_a, side_b)
        chunks = differences.differing_chunks(side_a, side_b)
        if chunks and image_a is not None and image_b is not None:
            terminal.step("diff", f"name the files behind {len(chunks)} chunks")
            found = replace(found, behind=_files_behind(chunks, (side_a, image_a), (side_b, image_b)))
    if as_json:
        data = {"same": found.same, **asdict(found)}
        show_json(data)
    else:
        show_lines(differences.to_lines(found), otherwise=f"{a} and {b}: no difference")
    ctx.exit(0 if found.same else 1)


@contextmanager
def _side(path: Path, terminal: Terminal) -> Iterator[tuple[differences.Side, Path | None]]:
    """A side of the comparison, and its raw image while the context lasts (None for a manifest or a plan). A file that
    begins like JSON is read only once, because it may be a pipe."""
    try:
        with path.open("rb") as file:
            head = file.read(1)
            content = head + file.read(limits.MANIFEST) if head == b"{" else b""
        if len(content) > limits.MANIFEST:
            said = f"is longer than {limits.MANIFEST} bytes, and no manifest or plan is"
            raise ConfigurationError(said, where=str(path))
        text = content.decode()
    except OSError as refused:
        raise ConfigurationError(f"cannot be read: {refused.strerror}", where=str(path)) from refused
    except UnicodeDecodeError as broken:
        raise ConfigurationError("is not UTF-8 text", where=str(path)) from broken
    if text:
        yield differences.side_of(text, str(path)), None
        return
    manifest = manifest_of(path)
    terminal.step("diff", f"compare {path.name} with its manifest")
    with raw(path, manifest.image, Store(upkeep.default_root()), terminal) as whole:
        if not is_image(whole, manifest.image):
            raise VerifyMismatchError(
                "does not agree with the manifest beside it, which tells nothing of it then",
                where=str(path),
                hint=f"`pimu-build verify {path}` names what was changed",
            )
        yield differences.side_of(manifest.to_json(), str(path)), whole


def _files_behind(chunks: Sequence[int], *sides: tuple[differences.Side, Path]) -> tuple[str, ...]:
    """Sorted names of both sides' files in the chunks."""
    (_, a), (_, b) = sides
    blocks = differing_blocks(a, b, chunks)
    layouts = [(side.manifest.layout, image) for side, image in sides if side.manifest is not None]
    return tuple(sorted({name for layout, image in layouts for name in owners(image, layout, blocks).values()}))


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
    show(machines.TEXTS[form](found).removesuffix("\n"))
