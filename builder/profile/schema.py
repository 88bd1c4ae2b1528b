"""Validate plain data against the schema. Every fault has file, line, key and reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from builder.limits import MIB
from builder.profile.document import Document, Problem, nearest, refuse

_KEY = re.compile(r"[\w ./@+*-]{1,80}(:[\w ./-]*)?")
KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
_REASONS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "bool_type": "is not true or false",
    "int_type": "is not a whole number",
    "string_type": "is not text; quote it",
    "tuple_type": "is not a list",
    "model_type": "is not a mapping",
    "dict_type": "is not a mapping",
    "too_short": "is empty",
}


def refuse_unknown(document: Document, known: Collection[str]) -> None:
    """Raises ConfigurationError for an unknown key at the top level of a layer. The schema checks deeper keys."""
    unknown = [key for key in document.data if key not in known]
    if unknown:
        text = _REASONS["extra_forbidden"]
        refuse(Problem(document.origins.mark(key), f"{_shown(key)}: {text}", nearest(key, known)) for key in unknown)


def _shown(key: str) -> str:
    """A key as an error may show it. A file that is no profile may hold secrets, and errors get into CI logs."""
    return key if _KEY.fullmatch(key) else "(a key with odd characters)"


def validate(model: type[Model], document: Document) -> Model:
    """The document as a value of `model`. Raises one ConfigurationError with every fault."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        refuse(_problems(model, document, error.errors(include_url=False)))


def _problems(model: type[BaseModel], document: Document, errors: list[ErrorDetails]) -> Iterator[Problem]:
    located = [(_key_path(document.data, error["loc"], error["type"] == "missing"), error) for error in errors]
    reasons: dict[KeyPath, list[str]] = {}
    hints: dict[KeyPath, str] = {}
    for path, error in located:
        if _is_other_branch(path, error, located):
            continue
        reasons.setdefault(path, []).append(_reason(error))
        if error["type"] == "extra_forbidden":
            hints[path] = nearest(str(path[-1]), _key_names(model, path[:-1]))
    for path, texts in reasons.items():
        dotted = ".".join(map(str, path))
        text = ", and ".join(dict.fromkeys(texts))
        shown = ".".join(_shown(str(part)) for part in path)
        yield Problem(document.origins.mark(dotted), f"{shown}: {text}" if dotted else text, hints.get(path, ""))


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"does not look like {error['ctx']['pattern'].strip('^$')}"
    if error["type"] == "union_tag_invalid":
        key, known = error["ctx"]["discriminator"].strip("'"), error["ctx"]["expected_tags"]
        return f"{key} {error['ctx']['tag']!r} is not one of {known}"
    if error["type"] == "union_tag_not_found":
        return f"{error['ctx']['discriminator'].strip(chr(39))} is missing"
    if error["type"] == "greater_than_equal" and error["ctx"]["ge"] >= MIB:
        return f"is less than {error['ctx']['ge'] // MIB}MiB"
    if error["type"] == "string_too_long":
        return f"has more than {error['ctx']['max_length']} letters"
    text = error["msg"].removeprefix("Value error, ").replace("Input should be", "is not")
    return _REASONS.get(error["type"], text)


def _key_path(data: Any, loc: KeyPath, missing: bool) -> KeyPath:
    """pydantic's location without the names of union members, which are no keys of the data.

    A member's name may also be a key ("packages" of a base's source). So the longest path that exists in the data wins.
    """
    if not loc:
        return ()
    head, rest = loc[0], loc[1:]
    skipped = _key_path(data, rest, missing)
    children = data if isinstance(data, dict) else dict(enumerate(data)) if isinstance(data, list) else {}
    if head in children:
        return max(skipped, (head, *_key_path(children[head], rest, missing)), key=len)
    if missing and not rest and isinstance(data, dict):
        return (head,)
    return skipped


def _is_other_branch(path: KeyPath, error: ErrorDetails, located: list[tuple[KeyPath, ErrorDetails]]) -> bool:
    """Whether an error only distracts from another one. For a mapping given to `dhcp | {address, …}`, "is not dhcp"
    does not help. Neither does "is empty" for a list with refused items."""
    rivals = [at for at, other in located if other is not error and at[: len(path)] == path]
    if error["type"] == "too_short":  # pydantic counts the good items
        return bool(rivals)
    return error["type"] == "literal_error" and isinstance(error["input"], dict) and bool(rivals)


def _key_names(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the schema knows in the mapping at `path`. An unknown step is a key of a table; all entries of a
    table have the same schema."""
    models = [model]
    for step in path:
        fields = [each.model_fields[step] for each in models if isinstance(step, str) and step in each.model_fields]
        if fields:
            models = [found for field in fields for found in _models(field.annotation)]
    return sorted({field.alias or name for each in models for name, field in each.model_fields.items()})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
