"""Reports of a long step while it works. The terminal's implementation is in the CLI; this one says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Called from several threads at once."""

    def step(self, name: str, text: str) -> None:
        """One line: the room of the pipeline (`fetch`, `bake`), and what it is about to do."""

    def bar(self, name: str, *, total: int, unit: str = "B") -> AbstractContextManager[Advance]:
        """A bar of `total` units; the value of the context is called with each amount done."""


class Silent:
    def step(self, name: str, text: str) -> None:
        pass

    @contextmanager
    def bar(self, name: str, *, total: int, unit: str = "B") -> Iterator[Advance]:
        yield lambda _: None
