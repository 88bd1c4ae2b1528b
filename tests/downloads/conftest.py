"""A server on the loopback, an empty cache, and no patience."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.fetch import Cache, download
from tests.loopback import Site, serving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE", 0.005)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")
