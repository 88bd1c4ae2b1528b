"""Files that are known before they come."""

from __future__ import annotations

from dataclasses import dataclass

from builder import limits


@dataclass(frozen=True, slots=True)
class Pin:
    """A file that is known before it comes; `size` in bytes, None when only its hash is known, `sha256` "" when nobody
    knows even that (`fetch_new`). `mirrors` are asked when `url` fails. `remedy` says how the user can help when no
    server has it any longer, `instead` how to do without it."""

    url: str
    sha256: str
    size: int | None
    remedy: str = ""
    instead: str = ""
    mirrors: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url, *self.mirrors)

    @property
    def most(self) -> int:
        """Bytes after which it is certain that a server sends something else."""
        return limits.DOWNLOAD if self.size is None else self.size
