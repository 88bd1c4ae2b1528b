"""All keys of all kinds of files, with type, default, description and examples."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel

from builder.reference.kinds import KINDS, Kind, NodeFile
from builder.reference.words import words


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its dotted `path`: `source.apt[].uri` is in each entry of a list, `answers.VERSION.ntp` in each entry
    of a mapping. `place` is the same path with an example's key of the mapping. `when` names the choices that allow the
    key, such as `kind: packages`; empty means always. `annotation` is its type with the constraints.
    """

    kind: Kind
    path: str
    place: tuple[str, ...]
    type: str
    is_required: bool
    default: Any
    sentence: str
    examples: tuple[Any, ...]
    when: tuple[str, ...]
    annotation: Any

    @property
    def default_text(self) -> str:
        if self.is_required:
            return "required"
        return "not set" if self.default is None else flow(self.default)

    def example_text(self) -> str:
        """The first example as lines of YAML, inside its enclosing mappings."""
        value = self.examples[0]
        for part in reversed(self.place):
            value = [value] if part == "[]" else {part: value}
        return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10**6)).removesuffix("\n")


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    data = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(data, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return str(text).removesuffix("\n").removesuffix("\n...")


@cache
def keys() -> tuple[Key, ...]:
    """All keys, kind by kind. A key that several variants of a mapping share comes once."""
    found: dict[tuple[str, str, str, str], Key] = {}
    for kind in KINDS.values():
        for key in _keys(kind, kind.model, "", (), ()):
            known = found.setdefault((kind.name, key.path, key.type, key.sentence), key)
            if known is not key:
                found[kind.name, key.path, key.type, key.sentence] = replace(known, when=known.when + key.when)
    return tuple(found.values())


def _keys(
    kind: Kind, model: type[BaseModel], prefix: str, place: tuple[str, ...], when: tuple[str, ...]
) -> Iterator[Key]:
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        examples = tuple(field.examples or ())
        required = field.is_required()
        yield Key(
            kind=kind,
            path=f"{prefix}{name}",
            place=(*place, name),
            type=words(hints[name], field.metadata),
            is_required=required,
            default=None if required else field.get_default(call_default_factory=True, validated_data={}),
            sentence=field.description or "",
            examples=examples,
            when=when,
            annotation=Annotated[hints[name], field],
        )
        for part in _parts(hints[name]):
            inner = tuple(step or next(iter(examples[0])) for step in part.steps)
            path = f"{prefix}{name}{part.suffix}."
            yield from _keys(kind, part.model, path, (*place, name, *inner), (*when, *part.when))


class _Part(NamedTuple):
    """A model inside a type. `steps` lead to it: `[]` is an entry of a list, "" an entry of a mapping."""

    model: type[BaseModel]
    suffix: str = ""
    steps: tuple[str, ...] = ()
    when: tuple[str, ...] = ()


def _parts(hint: Any) -> Iterator[_Part]:
    if get_origin(hint) is Annotated:
        hint = hint.__origin__
    arguments = get_args(hint)
    match get_origin(hint):
        case None if isinstance(hint, type) and issubclass(hint, BaseModel) and hint is not NodeFile:
            yield _Part(hint)
        case origin if origin in (Union, types.UnionType):
            parts = [part for argument in arguments for part in _parts(argument)]
            yield from (part._replace(when=_choice(part.model)) if len(parts) > 1 else part for part in parts)
        case origin if origin is tuple:
            yield from (
                part._replace(suffix=f"[]{part.suffix}", steps=("[]", *part.steps)) for part in _parts(arguments[0])
            )
        case origin if origin is dict:
            entry = f".{words(arguments[0]).upper()}"
            for part in _parts(arguments[1]):
                yield part._replace(suffix=f"{entry}{part.suffix}", steps=("", *part.steps))


def _choice(model: type[BaseModel]) -> tuple[str, ...]:
    """The key that chooses a variant, with the variant's value."""
    (choice,) = (
        f"{name}: {get_args(field.annotation)[0]}"
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    )
    return (choice,)


def _bare(path: str) -> str:
    """A path without marks and keys of entries, because people write them in several ways (`source.apt.0.uri`)."""
    parts = path.replace("[]", "").split(".")
    return ".".join(part for part in parts if not part.isdecimal() and not (part.isalpha() and part.isupper()))


def find(path: str) -> tuple[Key, ...]:
    """The keys with this path, one for each kind of file that has it."""
    return tuple(key for key in keys() if _bare(key.path) == _bare(path))


def below(key: Key) -> tuple[Key, ...]:
    """The keys directly in the mapping of this key."""
    start = f"{_bare(key.path)}."
    inner = [one for one in keys() if one.kind is key.kind and _bare(one.path).startswith(start)]
    return tuple(one for one in inner if "." not in _bare(one.path).removeprefix(start))


def nearest_to(path: str) -> str:
    """The known path that is most similar to `path`, else one with the same last part, else ""."""
    known = [_bare(key.path) for key in keys()]
    last = _bare(path).rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    return next(iter([*difflib.get_close_matches(path, known, 1), *same]), "")
