"""Steps of the tests' own: no maker of the builder's has them."""

from __future__ import annotations

from builder.store.step import Step


def step(kind: str, value: object = None) -> Step:
    """A step whose inputs are this value, without programs and code."""
    return Step(kind, "of a test", {"value": value})
