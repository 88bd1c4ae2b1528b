"""A step is a value: what is made, from what, with which programs, by which code. Its digest is the product's key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.host import tools
from builder.model.lock import canonical
from builder.store.closure import Closure, closure


@dataclass(frozen=True, slots=True)
class Step:
    """`kind` names the maker; `name` is what people call the product, and no part of the key. `inputs` is plain data
    that JSON can hold: keys of other products, pins, edits, settings. `tools` are the host programs that the maker may
    run, with their versions; "" where the version shapes no byte. `code` is the digest of `parts`, the definitions that
    the maker reaches; a step without code may run any program."""

    kind: str
    name: str
    inputs: Mapping[str, Any]
    tools: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Canonical JSON of all that shapes the product."""
        return canonical({"kind": self.kind, "inputs": self.inputs, "tools": self.tools, "code": self.code})

    @property
    def key(self) -> str:
        """sha256 of `text`, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Maker:
    """The function that fills the folder of each product of a kind."""

    kind: str
    module: str
    function: str

    def closure(self, cache: Path) -> Closure:
        return closure(self.module, self.function, cache)

    def step(self, cache: Path, name: str, inputs: Mapping[str, Any]) -> Step:
        """The step that makes a product of these inputs on this machine, with today's code; see Step. Raises
        MissingToolError when a program is not installed whose version shapes the product."""
        code = self.closure(cache)
        return Step(self.kind, name, inputs, tools.versions(code.programs), code.digest, code.parts)


MAKERS: dict[str, Maker] = {}
"""Makers by kind. A maker's module registers it when it is imported."""


def register(kind: str, function: Callable[..., object]) -> Maker:
    """Raises ValueError for a kind that another function makes."""
    maker = Maker(kind, function.__module__, function.__name__)
    if MAKERS.setdefault(kind, maker) != maker:
        raise ValueError(f"{kind} has a maker: {MAKERS[kind]}")
    return maker
