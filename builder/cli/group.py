"""The first words of the command line: commands, or nodes to build."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from builder.cli.terminal import QUIET, VERBOSE, Terminal

_IMPLIED = "builder.cli.implied"
_OWN_OPTIONS = ("--help", "-h", "--version")
_ALIKE = 0.75

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
"""An existing file."""
PATH = click.Path(path_type=Path)
"""A file or folder; it need not exist."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Named:
    """A command: a function in a module of builder.cli, and a line of help. The list of commands thus imports no
    command's module."""

    module: str
    function: str
    help: str

    def load(self) -> click.Command:
        command = getattr(importlib.import_module(f"builder.cli.{self.module}"), self.function)
        assert isinstance(command, click.Command)
        return command


class NodeGroup(click.Group):
    """The group of commands. A first word that is no command is a node: `pimu-build node-003` means `pimu-build build
    node-003`."""

    def __init__(self, *words: Any, named: Mapping[str, Named], **options: Any) -> None:
        super().__init__(*words, **options)
        self.named = named

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        elif args and args[0] not in self.list_commands(ctx) and args[0] not in _OWN_OPTIONS:
            ctx.meta[_IMPLIED] = True
            args = ["build", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.named, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.named[cmd_name].load() if cmd_name in self.named else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.named.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=command.help)
            for name, command in self.named.items()
            if name.startswith(incomplete)
        ]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return commands + options + profile_names("nodes")(ctx, None, incomplete)


def command_words(ctx: click.Context) -> frozenset[str]:
    """The names of the commands. They cannot be node names."""
    root = ctx.find_root().command
    return frozenset(root.named) if isinstance(root, NodeGroup) else frozenset()


def node_names(ctx: click.Context, _param: click.Parameter, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Refuse a node's name that is a command or a misspelt command. Other rules for names are checked with the
    profiles."""
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
    """A completion function with the names of the files in profiles/KIND/."""

    def complete(ctx: click.Context, _param: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
        names = sorted(file.stem for file in (_profiles(ctx) / kind).glob("*.yaml"))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


def _profiles(ctx: click.Context) -> Path:
    return Path(ctx.params.get("project") or ".") / "profiles"


def project_option(command: Command) -> Command:
    """The option --project. It is eager, because node names are completed and checked with the project's files."""
    return click.option(
        "--project",
        type=PATH,
        default=Path(),
        is_eager=True,
        metavar="DIR",
        help="Folder with profiles/, overlays/ and cloud-init/.  [default: this one]",
    )(command)


def verbosity_options(command: Command) -> Command:
    """The options -v and -q. The last one wins, because click calls back in the order of the command line."""

    def option(*names: str, verbosity: int, text: str) -> Callable[[Command], Command]:
        def choose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
            if value:
                ctx.ensure_object(Terminal).set_verbosity(verbosity)

        return click.option(*names, is_flag=True, expose_value=False, callback=choose, help=text)

    quiet = option("-q", "--quiet", verbosity=QUIET, text="Print the result only: for a build, the path of each image.")
    verbose = option(
        "-v", "--verbose", verbosity=VERBOSE, text="Tell each command, and why each step is made anew; show tracebacks."
    )
    return quiet(verbose(command))


def profile_option(name: str, text: str) -> Callable[[Command], Command]:
    """The option --NAME, which takes the name of a file in profiles/NAMEs/."""
    return click.option(f"--{name}", metavar=name.upper(), shell_complete=profile_names(f"{name}s"), help=text)


role_option = profile_option("role", "A file in profiles/roles/.  [default: the node's file says]")
base_option = profile_option("base", "A file in profiles/bases/.  [default: cluster.yaml says]")
guest_option = profile_option("guest", "As if it ran this file of profiles/guests/.  [default: its role says]")
preset_option = profile_option(
    "preset", "A file in profiles/presets/; it wins over the role, and the node's file over it."
)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)
