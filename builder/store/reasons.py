"""Say why a product is made anew: the differences between its step and the step of an older product of that name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builder.model.lock import canonical
from builder.store.step import Step

_LONGEST = 60  # characters of a value
_MOST = 6  # parts of the code that are named


def reasons(old: Mapping[str, Any], old_parts: Mapping[str, str], new: Step) -> list[str]:
    """`old` is the older step's text as plain data, `old_parts` its code's. Empty where nothing differs."""
    found = [
        *_differences("inputs", old.get("inputs"), new.inputs),
        *_differences("tools", old.get("tools"), new.tools),
    ]
    if old.get("code") != new.code:
        changed = sorted(name for name in {*old_parts, *new.parts} if old_parts.get(name) != new.parts.get(name))
        more = f" and {len(changed) - _MOST} more" if len(changed) > _MOST else ""
        found.append(f"code of {', '.join(changed[:_MOST]) or 'a part that was not recorded'}{more}")
    return found


def _differences(where: str, old: object, new: object) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(f"{where}.{key}", old.get(key), new.get(key))
    elif (
        isinstance(old, Sequence)
        and isinstance(new, Sequence)
        and not isinstance(old, str)
        and max(len(old), len(new)) > 1
    ):
        before, after = Counter(map(canonical, old)), Counter(map(canonical, new))
        gone, come = before - after, after - before
        if gone or come:
            yield f"{where}: {gone.total()} gone, {come.total()} new{_examples(gone, come)}"
        elif canonical(old) != canonical(new):
            yield f"{where}: another order"
    elif canonical(old) != canonical(new):
        yield f"{where} {_short(canonical(old))} -> {_short(canonical(new))}"


def _examples(gone: Counter[str], come: Counter[str]) -> str:
    return f" ({_short(next(iter(come or gone)))})"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
