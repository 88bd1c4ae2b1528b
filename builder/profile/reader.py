"""Parse YAML into plain data with lines. Only this module reads YAML.

It is stricter than YAML 1.1. YAML 1.1 reads `52:54:00:12:34:56` as 41135085296, `no` as false, `012` as ten and `7.10`
as 7.1. It keeps the last of two equal keys, and its aliases can grow a page of text to gigabytes. Here a plain scalar
is null, `true`, `false`, a decimal integer or text. A value that other readers take for a base-60 number is refused.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from builder import limits
from builder.limits import KIB
from builder.profile.document import Document, Mark, Origins, Problem, refuse

_HALF = re.compile("[\ud800-\udfff]")


class _Refused(yaml.MarkedYAMLError):
    """A construct of YAML that is refused here."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """Composes nodes only. It has only the resolvers below, so every other plain scalar is text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the base class declares it as it is
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused("anchors and aliases are refused", event.start_mark)
        if event.tag is not None:
            raise _Refused(f"the tag {event.tag} is refused", event.start_mark)
        self.depth += 1
        if self.depth > limits.YAML_LEVELS:
            raise _Refused("is nested too deeply", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|)\Z"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)\Z"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]{0,17})\Z"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:pimu,1:base60", re.compile(r"[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+\Z"), list("-+123456789")
)


def parse(text: str, file: str) -> Document:
    """A YAML text as plain data. `file` is its path in the project. An empty text is an empty mapping.

    Raises ConfigurationError for bad syntax, anchors, tags, duplicate keys, base-60 numbers, a list at the top, deep
    nesting, and a text that is too large.
    """
    if len(text) > limits.YAML:
        refuse([Problem(Mark(file, 0), f"is larger than {limits.YAML // KIB} KiB")])
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        text = str(error.problem) if isinstance(error, _Refused) else f"is not YAML: {error.problem}"
        refuse([Problem(Mark(file, error.problem_mark.line + 1 if error.problem_mark else 0), text)])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refuse([Problem(Mark(file, line), f"is not YAML: {error.reason}")])
    if node is not None and not isinstance(node, yaml.MappingNode):
        refuse([Problem(Mark(file, node.start_mark.line + 1), "is not a mapping of keys to values")])
    reading = _Reading(file)
    data = reading.mapping(node, "") if node is not None else {}
    if reading.problems:
        refuse(reading.problems)
    return Document(data, Origins({**reading.marks, "": Mark(file, 1)}))


class _Reading:
    """Turns nodes into plain data, and collects the line of every key and all problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[str, Mark] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, f"{path}.{index}") for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = self._mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(mark, "a key must be plain text", "quote a value that starts with { or ["))
                continue
            key = self._text(key_node, path)
            key_path = f"{path}.{key}" if path else key
            if key in data:
                first = self.marks[key_path].line
                self.problems.append(Problem(mark, f"{key_path}: is given twice, first in line {first}"))
                continue
            self.marks[key_path] = mark
            data[key] = self.value(value_node, key_path)
        return data

    def _item(self, node: yaml.Node, path: str) -> Any:
        self.marks[path] = self._mark(node)
        return self.value(node, path)

    def _scalar(self, node: yaml.Node, path: str) -> str | int | bool | None:
        text = self._text(node, path)
        match node.tag:
            case "tag:yaml.org,2002:null":
                return None
            case "tag:yaml.org,2002:bool":
                return text == "true"
            case "tag:yaml.org,2002:int":
                return int(text)
            case "tag:pimu,1:base60":
                fault = f"{path}: is the number {yaml.safe_load(text)} to many readers of YAML"
                self.problems.append(Problem(self._mark(node), fault, f'quote it: "{text}"'))
        return text

    def _text(self, node: yaml.Node, path: str) -> str:
        """The text of a scalar. Halves of surrogate pairs ("\\ud800") are a problem: UTF-8 cannot encode them."""
        text, halves = _HALF.subn("", str(node.value))
        if halves:
            self.problems.append(Problem(self._mark(node), f"{path or 'a key'}: has half of a surrogate pair"))
        return text

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1)
