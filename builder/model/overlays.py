"""A file of overlays/, with its owner and mode from overlays/manifest.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.edits import FILE_MODE, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayFile:
    """`path` is absolute on its volume and without the `.j2` of a template; `origin` is the path in the project.

    A symlink has a `symlink_target` and no content.
    """

    volume: Volume
    path: str
    origin: str
    content: bytes = b""
    is_template: bool = False
    symlink_target: str | None = None
    mode: int = FILE_MODE
    uid: int = 0
    gid: int = 0

    @property
    def text(self) -> str:
        return self.content.decode()
