"""How the words of the command line are understood: commands, and nodes where no command is meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from builder.cli.terminal import NORMAL, QUIET, VERBOSE, Terminal
from builder.project import Project

_IMPLIED = "builder.cli.implied"
_OWN_OPTIONS = ("--help", "-h", "--version")
_ALIKE = 0.75

IMAGE = click.Path(path_type=Path, exists=True, dir_okay=False)

Command = TypeVar("Command", bound=Callable[..., Any])


class NodeGroup(click.Group):
    """A first word that is no command is a node: `pimu-build node-003` means `pimu-build build node-003`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        elif args and args[0] not in self.commands and args[0] not in _OWN_OPTIONS:
            ctx.meta[_IMPLIED] = True
            args = ["build", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their definition: the order of work

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return super().shell_complete(ctx, incomplete) + profile_names("nodes")(ctx, None, incomplete)


def command_words(ctx: click.Context) -> frozenset[str]:
    """These can never be node names."""
    root = ctx.find_root().command
    return frozenset(root.commands) if isinstance(root, click.Group) else frozenset()


def node_names(ctx: click.Context, _param: click.Parameter, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """What a node may be called is for profiles to say; that a command is not meant, for us."""
    words = command_words(ctx)
    for name in (value,) if isinstance(value, str) else value:
        if name in words:
            raise click.UsageError(f"{name!r} is a command and cannot be a node's name; a command comes first", ctx)
        if ctx.meta.get(_IMPLIED) and not (_profiles(ctx) / "nodes" / f"{name}.yaml").exists():
            alike = difflib.get_close_matches(name, words, 1, _ALIKE)
            if alike:
                hint = f"did you mean `pimu-build {alike[0]}`? If it is a node: `pimu-build build {name}`"
                raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
    return value


def profile_names(kind: str) -> Callable[[click.Context, click.Parameter | None, str], list[CompletionItem]]:
    """Completion from the names of the files in profiles/KIND/."""

    def complete(ctx: click.Context, _param: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
        names = sorted(file.stem for file in (_profiles(ctx) / kind).glob("*.yaml"))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


def _profiles(ctx: click.Context) -> Path:
    return Path(ctx.params.get("project") or ".") / "profiles"


def project_option(command: Command) -> Command:
    """Eager, because node names are completed and checked against its files."""
    return click.option(
        "--project",
        type=click.Path(path_type=Path),
        default=Path(),
        is_eager=True,
        metavar="DIR",
        help="Folder with profiles/, overlays/ and cloud-init/.  [default: this one]",
    )(command)


def verbosity_options(command: Command) -> Command:
    """-v and -q; the last one wins."""

    def choose(ctx: click.Context, _param: click.Parameter, value: int) -> None:
        ctx.ensure_object(Terminal).set_verbosity(value)

    def option(*names: str, value: int, text: str) -> Callable[[Command], Command]:
        return click.option(
            *names,
            "verbosity",
            flag_value=value,
            type=int,
            default=NORMAL,
            expose_value=False,
            callback=choose,
            help=text,
        )

    quiet = option("-q", "--quiet", value=QUIET, text="Print the result only: for a build, the path of each image.")
    verbose = option("-v", "--verbose", value=VERBOSE, text="Log everything; show tracebacks.")
    return quiet(verbose(command))


def profile_option(name: str, text: str) -> Callable[[Command], Command]:
    """--NAME, which takes a file of profiles/NAMEs/."""
    return click.option(f"--{name}", metavar=name.upper(), shell_complete=profile_names(f"{name}s"), help=text)


role_option = profile_option("role", "A file in profiles/roles/.  [default: the node's file says]")
base_option = profile_option("base", "A file in profiles/bases/.  [default: cluster.yaml says]")
guest_option = profile_option("guest", "As if it ran this file of profiles/guests/.  [default: its role says]")
preset_option = profile_option(
    "preset", "A file in profiles/presets/; it wins over the role, and the node's file over it."
)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def open_project(ctx: click.Context, folder: Path) -> Project:
    return Project(folder, reserved_names=command_words(ctx))
