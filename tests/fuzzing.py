"""Properties that hold for any input, tried on a few in every run (always the same ones) and on many in `make soak`."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from builder.errors import PimuError

QUICK, LONG = 1, 100
EFFORTS = pytest.mark.parametrize("effort", [QUICK, pytest.param(LONG, marks=pytest.mark.soak)])
_SECONDS = 20
_BYTES = 64 << 20


def hold(effort: int, examples: int, strategy: st.SearchStrategy[Any], property_: Callable[[Any], object]) -> None:
    """Try `examples` inputs, a hundred times as many in a long run: the property is true, or raises one of the
    project's errors; it ends soon, and takes little memory."""

    @settings(
        max_examples=examples * effort,
        derandomize=effort == QUICK,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
    )
    @given(strategy)
    def tried(value: Any) -> None:
        with _bounded(effort), suppress(PimuError):
            property_(value)

    tried()


@contextmanager
def _bounded(effort: int) -> Iterator[None]:
    """To count memory takes three times as long."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"takes more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    if effort == LONG:
        tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < _BYTES
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def damaged(whole: bytes, unit: int = 1) -> st.SearchStrategy[bytes]:
    """`whole` with some of its bytes changed, cut out, doubled or cut off; at multiples of `unit` where it matters."""
    places = st.integers(0, max(len(whole) // unit - 1, 0)).map(lambda number: number * unit)
    change = st.tuples(st.just("set"), st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=16))
    cut = st.tuples(st.just("cut"), places, st.integers(1, 4).map(lambda number: number * unit))
    double = st.tuples(st.just("double"), places, st.integers(1, 4).map(lambda number: number * unit))
    end = st.tuples(st.just("end"), st.integers(0, len(whole)), st.just(0))

    def apply(changes: list[tuple[str, int, Any]]) -> bytes:
        content = bytearray(whole)
        for kind, at, what in changes:
            match kind:
                case "set":
                    content[at : at + len(what)] = what
                case "cut":
                    del content[at : at + what]
                case "double":
                    content[at:at] = content[at : at + what]
                case "end":
                    del content[at:]
        return bytes(content)

    return st.lists(st.one_of(change, change, cut, double, end), min_size=1, max_size=6).map(apply)


def words(*vocabulary: str, max_size: int = 30) -> st.SearchStrategy[str]:
    """Text of the words of a language, with some that are none between them."""
    word = st.one_of(st.sampled_from(vocabulary), st.sampled_from(vocabulary), st.text(max_size=6))
    return st.lists(word, max_size=max_size).map("".join)
