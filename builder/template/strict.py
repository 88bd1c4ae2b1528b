"""Jinja2 for overlays/ and cloud-init/: sandboxed, strict, and with filters that quote for shell and YAML.

A line with only a block tag leaves no line in the output (trim_blocks, lstrip_blocks). This module does not limit time
and memory, because jinja2's sandbox limits neither loops nor powers of numbers. Render a project's templates by
`rendering` of builder.host.rendering.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, TypeAlias

import jinja2
import yaml
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from builder import limits
from builder.errors import ConfigurationError
from builder.profile.document import nearest

Plain: TypeAlias = str | int | bool | list["Plain"] | dict[str, "Plain"] | None
"""The types of values that a template gets."""

Render: TypeAlias = Callable[[str, str, Mapping[str, Plain]], str]
"""`render` below, or a function that calls it in another process."""

_FILE = "template"
"""The name in compiled code. jinja2 writes the name into the code that it makes, so the template's own name could
inject code (CVE-2024-56201)."""

_OF_TEXT = """
    capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal isdigit islower
    isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace
    rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill
"""
_METHODS: Mapping[type, frozenset[str]] = MappingProxyType(
    {
        str: frozenset(_OF_TEXT.split()),
        dict: frozenset({"get", "items", "keys", "values"}),
        list: frozenset({"count", "index"}),
        tuple: frozenset({"count", "index"}),
    }
)
"""The methods of Python that a template may call, by type. `format` and `format_map` are not among them: their text can
name attributes (CVE-2016-10745, CVE-2019-10906, CVE-2024-56326, CVE-2025-27516)."""

_OPEN = (LoopContext, Macro, Namespace)
"""jinja2's own objects. A template may use their attributes without an underscore."""

_WORDS = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "NoneType": "none",
    "Namespace": "a namespace",
    "generator": "a sequence (add | list)",
}
_TYPE = re.compile(rf"(?<!\w)'?({'|'.join(_WORDS)})'?(?: object\b)?(?!\w)")


class _YamlDumper(yaml.SafeDumper):
    """Writes every text in double quotes, so that no value can become a number, a boolean or a second line."""


_YamlDumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


class _Missing(str):
    """The text of jinja2's error for a missing name. It carries the name and the object that lacks it."""

    __slots__ = ("name", "owner")
    owner: object
    name: str


class _Undefined(jinja2.StrictUndefined):
    """An undefined value. Its error names the object and the missing attribute, and no class of Python."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint is not None:
            return self._undefined_hint
        told = _Missing(f"there is no {self._undefined_name}")
        told.owner, told.name = self._undefined_obj, str(self._undefined_name)
        return told


class TooLongError(BaseException):
    """The time is over. The caller's signal handler raises it while a template is rendered. It is no Exception, because
    jinja2 catches some of these."""

    def __str__(self) -> str:
        return f"takes more than {limits.TEMPLATE_SECONDS} s of processor time"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Allows listed attributes by name and type, and refuses all others."""

    def getattr(self, obj: Any, attribute: str) -> object:
        """The key of that name, else the attribute."""
        if not isinstance(obj, type):  # dict["mro"] is a type of Python's typing
            with suppress(TypeError, LookupError, AttributeError):
                return obj[attribute]
        if not hasattr(obj, attribute):
            return self.undefined(obj=obj, name=attribute)
        if not self.is_safe_attribute(obj, attribute, None):
            return self.unsafe_undefined(obj, attribute)
        return getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> object:
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        if not isinstance(obj, type):
            with suppress(TypeError, LookupError, AttributeError):
                return obj[argument]
        return self.undefined(obj=obj, name=argument)

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        if isinstance(obj, _OPEN):
            return not attr.startswith("_")
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def unsafe_undefined(self, obj: object, attribute: str) -> jinja2.Undefined:
        fault = f"{attribute} may not be used in a template"
        return self.undefined(fault, name=attribute, obj=obj, exc=jinja2.exceptions.SecurityError)


def _value(value: object) -> object:
    """The value. Raises ValueError for a method or a generator: its text has an address in memory."""
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises the error that it stands for
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {_value(key): _value(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{_words(type(value).__name__)} is no value to be written")


def _quote_sh(value: object) -> str:
    return shlex.quote(str(_value(value)))


def _quote_yaml(value: object) -> str:
    """The value as one line of YAML in flow style. It fits after `key: ` at any depth."""
    dumped: str = yaml.dump(_value(value), Dumper=_YamlDumper, default_flow_style=True, width=float("inf"))
    return dumped.removesuffix("\n").removesuffix("\n...")


def _environment() -> jinja2.Environment:
    environment = _Sandbox(
        undefined=_Undefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True, finalize=_value
    )
    environment.filters["sh"] = _quote_sh
    environment.filters["yaml"] = _quote_yaml
    del environment.filters["random"]  # the same inputs make the same image
    environment.globals = {name: environment.globals[name] for name in ("dict", "namespace", "range")}
    return environment


_ENVIRONMENT = _environment()


def render(text: str, name: str, variables: Mapping[str, Plain]) -> str:
    """The template `text` with `variables` filled in. `name` is its path in the project, for errors.

    Raises ConfigurationError, with the template's line, for bad syntax, a missing variable, any error in an expression,
    and an output of more than limits.RENDERED characters.
    """
    template = None
    try:
        code = _ENVIRONMENT.compile(text, name=_FILE, filename=_FILE)
        template = jinja2.Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.make_globals(None))
        return _bounded(template.generate(variables))
    except ConfigurationError as error:
        raise ConfigurationError(error.message, where=name) from error
    except jinja2.TemplateSyntaxError as error:
        raise ConfigurationError(_words(str(error.message)), where=f"{name}:{error.lineno}") from error
    except TooLongError as error:
        line = template.get_corresponding_lineno(_line(error)) if template else 1
        raise ConfigurationError(str(error), where=f"{name}:{line}") from error
    except Exception as error:  # an expression of the template is the user's code and may raise anything
        fault, hint = _told(error, variables)
        raise ConfigurationError(fault, where=f"{name}:{_line(error)}", hint=hint) from error


def _bounded(parts: Iterator[str]) -> str:
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > limits.RENDERED:
            raise ConfigurationError(f"makes more than {limits.RENDERED} characters, which no file on a Pi has")
        kept.append(part)
    text = "".join(kept)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("makes half of a surrogate pair, which no file can hold") from error
    return text


def _told(error: Exception, variables: Mapping[str, Plain]) -> tuple[str, str]:
    """The fault and a hint, without words of Python."""
    missing = error.args[0] if isinstance(error, jinja2.UndefinedError) and error.args else None
    if isinstance(error, MemoryError):
        return f"needs more than {limits.TEMPLATE_MEMORY} bytes of memory", ""
    if isinstance(error, RecursionError):
        return "calls itself too deeply", ""
    if not isinstance(missing, _Missing):
        return _words(str(error)), ""
    if missing.owner is jinja2.utils.missing:
        close = nearest(missing.name, variables)
        all_names = f"the template knows: {', '.join(sorted(variables))}"
        return f"there is no variable {missing.name}", all_names if close.startswith("known") else close
    if missing.owner is None:
        return f"there is no {missing.name}: it is looked for in none", ""
    owner = _path(missing.owner, variables) or _words(type(missing.owner).__name__)
    known = sorted(missing.owner) if isinstance(missing.owner, dict) else []
    return f"{owner} has no {missing.name}", nearest(missing.name, known) if known else ""


def _path(wanted: object, inside: Plain | Mapping[str, Plain]) -> str:
    """The path of the object `wanted` in the variables, such as `node.bridge`; "" if it is not among them."""
    named = inside.items() if isinstance(inside, Mapping) else enumerate(inside) if isinstance(inside, list) else ()
    for key, value in named:
        if value is wanted and isinstance(value, dict | list):
            return str(key)
        if deeper := _path(wanted, value):
            return f"{key}.{deeper}"
    return ""


def _words(text: str) -> str:
    """The text of an error of Python or jinja2, with plain words for the names of classes."""
    return _TYPE.sub(lambda match: _WORDS[match[1]], text)


def _line(error: BaseException) -> int:
    """The line of the template's innermost frame. jinja2 rewrites tracebacks to the template's own lines."""
    line, frame = 1, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == _FILE:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
