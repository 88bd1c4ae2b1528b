"""Find compiled Python modules with random bytes, to compile them again.

Python before 3.11 marshals a frozenset in the order of its hashes (https://github.com/python/cpython/issues/81777). The
postinst of the python3.9 packages compiles with `python3.9 -E`, which ignores PYTHONHASHSEED.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_FIRST_ORDERED = 11
_CACHED = "__pycache__/*.cpython-3*.pyc"


def unordered_modules(root: Path) -> Iterator[tuple[str, list[str]]]:
    """For each Python before 3.11 in the tree: its name, and the compiled modules as absolute paths in the tree."""
    for library in sorted((root / "usr/lib").glob("python3.*")):
        version = re.fullmatch(r"python3\.(\d+)", library.name)
        if version is None or int(version[1]) >= _FIRST_ORDERED or not (root / "usr/bin" / library.name).exists():
            continue
        sources = (path.parent.parent / f"{path.name.split('.')[0]}.py" for path in library.rglob(_CACHED))
        if modules := sorted(f"/{source.relative_to(root)}" for source in sources if source.is_file()):
            yield library.name, modules
