"""Plain data with the file and line of every key, and the merging of such documents."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from builder.errors import ConfigurationError


class Mark(NamedTuple):
    """A file and a line. Line 0 means that the value is derived or comes from the command line; `file` says which."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problem(NamedTuple):
    mark: Mark
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Origins:
    """The place that set each key last. Keys are dotted paths such as `swap.size`; "" is the document itself."""

    marks: Mapping[str, Mark]

    def mark(self, path: str) -> Mark:
        """The place of `path`, or of the nearest enclosing key when `path` itself was not set."""
        while path and path not in self.marks:
            path = path.rpartition(".")[0]
        return self.marks[path]

    def of(self, path: str) -> str:
        return str(self.mark(path))


@dataclass(frozen=True, slots=True)
class Document:
    data: dict[str, Any]
    origins: Origins

    def part(self, key: str) -> Document:
        """The mapping under `key`; empty if there is none. Raises ConfigurationError when it is no mapping."""
        data = self.data.get(key, {})
        if not isinstance(data, dict):
            refuse([Problem(self.origins.mark(key), f"{key}: is not a mapping")])
        marks = {path.removeprefix(f"{key}."): mark for path, mark in self.origins.marks.items() if _within(path, key)}
        return Document(data, Origins({**marks, "": self.origins.mark(key)}))

    def only(self, *keys: str) -> Document:
        return self.without(*(key for key in self.data if key not in keys))

    def without(self, *keys: str) -> Document:
        return Document({key: value for key, value in self.data.items() if key not in keys}, self.origins)


def refuse(problems: Iterable[Problem]) -> NoReturn:
    """Raises one ConfigurationError with all problems, sorted by file and line."""
    errors = [ConfigurationError(text, where=str(mark), hint=hint) for mark, text, hint in sorted(problems)]
    raise errors[0] if len(errors) == 1 else ConfigurationError("\n".join(map(str, errors)))


def nearest(name: str, known: Collection[str]) -> str:
    """A hint: the known name that is most similar to `name`, or all known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"


def derived(data: dict[str, Any], origin: str) -> Document:
    """A document with values that are in no file. `origin` names their source."""
    return Document(data, Origins({key: Mark(origin, 0) for key in ["", *data]}))


def merge(*documents: Document) -> Document:
    """Merge mappings key by key; later documents win. A list, a scalar or null replaces the earlier value and its
    lines."""
    data: dict[str, Any] = {}
    marks: dict[str, Mark] = {}
    for document in documents:
        _merge_into(data, marks, document.data, document.origins.marks, "")
        marks[""] = document.origins.marks[""]
    return Document(data, Origins(marks))


def _merge_into(
    data: dict[str, Any], marks: dict[str, Mark], new: Mapping[str, Any], new_marks: Mapping[str, Mark], prefix: str
) -> None:
    for key, value in new.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            data[key] = dict(data[key])
            marks[path] = new_marks[path]
            _merge_into(data[key], marks, value, new_marks, f"{path}.")
            continue
        data[key] = value
        for old in [old for old in marks if old == path or _within(old, path)]:
            del marks[old]
        marks.update({at: mark for at, mark in new_marks.items() if at == path or _within(at, path)})


def _within(path: str, key: str) -> bool:
    return path.startswith(f"{key}.")
