"""Jinja2 for overlays/ and cloud-init/: sandboxed, strict, and with the two quotings that files on a Pi need.

A line that holds only a block tag leaves no trace in the output (trim_blocks, lstrip_blocks).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import jinja2
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from builder.errors import ConfigurationError


class _YamlDumper(yaml.SafeDumper):
    """Every text in double quotes: no value can be taken for a number, a boolean or a second line."""


_YamlDumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _quote_sh(value: object) -> str:
    return shlex.quote(str(value))


def _quote_yaml(value: object) -> str:
    """One line of flow style, to stand after `key: ` at any depth."""
    dumped: str = yaml.dump(value, Dumper=_YamlDumper, default_flow_style=True, width=float("inf"))
    return dumped.removesuffix("\n").removesuffix("\n...")


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["sh"] = _quote_sh
    environment.filters["yaml"] = _quote_yaml
    return environment


_ENVIRONMENT = _environment()


def render(text: str, name: str, variables: Mapping[str, object]) -> str:
    """The text with its variables filled in. `name` is the template's path in the project, for errors.

    ConfigurationError with the template's line for bad syntax, a missing variable or whatever an expression raises.
    """
    try:
        code = _ENVIRONMENT.compile(text, name=name, filename=name)
        template = jinja2.Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.make_globals(None))
        return template.render(variables)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigurationError(str(error.message), where=f"{name}:{error.lineno}") from error
    except Exception as error:  # an expression of the template is the user's code and may raise anything
        missing = isinstance(error, jinja2.UndefinedError)
        hint = f"the template knows: {', '.join(sorted(variables))}" if missing else ""
        raise ConfigurationError(str(error), where=f"{name}:{_line(error, name)}", hint=hint) from error


def _line(error: BaseException, name: str) -> int:
    """The line of the template's innermost frame; jinja2 rewrites its tracebacks to the template's own lines."""
    line, frame = 1, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == name:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
