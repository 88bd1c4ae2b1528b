"""The command that explains the keys of profiles/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from builder.cli.group import json_option, verbosity_options
from builder.cli.terminal import show, show_json, show_lines
from builder.reference import KINDS, Key, below, find, json_schema, keys, nearest_to, page

_EXAMPLES = """\b
Examples:
  pimu-build explain bridge.ipv4           one key, with an example to copy
  pimu-build explain | grep -i memory      the keys whose sentence names memory
  pimu-build explain --json-schema node >node.schema.json
                                           for an editor: docs/reference.md says how
"""
_INDENT = " " * 11


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = dict.fromkeys(key.path for key in keys() if key.path.startswith(incomplete))
    return [CompletionItem(name) for name in names]


@click.command("explain", epilog=_EXAMPLES)
@click.argument("path", metavar="[KEY]", required=False, shell_complete=_complete)
@click.option("--json-schema", "kind", type=click.Choice(list(KINDS)), help="Print the JSON schema of a kind of files.")
@click.option("--markdown", "as_page", is_flag=True, help="Print docs/reference.md, which explains every key.")
@json_option
@verbosity_options
@click.pass_context
def explain_command(ctx: click.Context, /, *, path: str | None, kind: str | None, as_page: bool, as_json: bool) -> None:
    """Explain a key of profiles/, or list all keys.

    KEY is a key with those that it is under, joined by dots: `watchdog`, `bridge.ipv4`, `source.apt.uri`. Its meaning,
    type, default and an example are printed, for each kind of file that has it: cluster is profiles/cluster.yaml, node
    a file of nodes, roles or presets, base and guest a file of bases or guests. Without KEY all keys are listed, each
    with its sentence. The files of this project are not read: `pimu-build plan NODE` shows their values.
    """
    if (path is not None) + (kind is not None) + as_page > 1:
        raise click.UsageError("KEY, --json-schema and --markdown exclude each other", ctx)
    if kind is not None:
        show_json(json_schema(KINDS[kind]))
    elif as_page:
        show(page())
    elif as_json:
        show_json([_data(key) for key in _found(ctx, path)])
    elif path is None:
        show_lines(_list(keys()))
    else:
        show("\n\n".join("\n".join(_lines(key)) for key in _found(ctx, path)))


def _found(ctx: click.Context, path: str | None) -> tuple[Key, ...]:
    if path is None:
        return keys()
    found = find(path)
    if not found:
        near = nearest_to(path)
        hint = f"did you mean {near}?" if near else "`pimu-build explain` lists all keys"
        raise click.UsageError(f"there is no key {path!r} in profiles/; {hint}", ctx)
    return found


def _list(all_keys: Iterable[Key]) -> Iterator[str]:
    for key in all_keys:
        yield f"{key.kind.name:8} {key.path:32} {key.sentence}"


def _lines(key: Key) -> Iterator[str]:
    yield f"{key.path}: {key.sentence}"
    yield f"  {'files':9}{key.kind.files}"
    yield f"  {'type':9}{key.type}"
    yield f"  {'default':9}{key.default_text}"
    if key.when:
        yield f"  {'only':9}with {' or '.join(key.when)}"
    inner = dict.fromkeys(one.path for one in below(key))
    if inner:
        yield f"  {'keys':9}{', '.join(inner)}"
    first, *rest = key.example_text().split("\n")
    yield f"  {'example':9}{first}"
    yield from (f"{_INDENT}{line}" for line in rest)


def _data(key: Key) -> dict[str, Any]:
    return {
        "kind": key.kind.name,
        "files": key.kind.files,
        "key": key.path,
        "type": key.type,
        "required": key.is_required,
        "default": key.default,
        "sentence": key.sentence,
        "examples": key.examples,
        "only_with": key.when,
    }
