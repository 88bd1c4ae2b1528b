"""Progress reports of long steps. The CLI implements them for a terminal. `Silent` prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Several threads may call it at once."""

    def step(self, name: str, text: str) -> None:
        """Print one line: the room of the pipeline (`fetch`, `bake`), and its next action."""

    def bar(self, name: str, *, total: int, unit: str = "B") -> AbstractContextManager[Advance]:
        """A bar of `total` units. The caller passes each finished amount to the context's value."""


class Silent:
    def step(self, name: str, text: str) -> None:
        pass

    @contextmanager
    def bar(self, name: str, *, total: int, unit: str = "B") -> Iterator[Advance]:
        yield lambda _: None
