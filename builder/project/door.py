"""The door to a project's own files: it counts files and bytes, and follows no symlink."""

from __future__ import annotations

import os
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError
from builder.host import files
from builder.host.files import Found

_HINT = "keep only the project's own files in it"


class Door:
    """Names are paths relative to `root`, which itself may be reached through a symlink. Both methods raise
    ConfigurationError, at the name; beyond limits.PROJECT and limits.PROJECT_FILES they do so for any file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bytes = self._files = 0
        self._listed: dict[str, tuple[Found, ...]] = {}

    def read(self, name: str, limit: int) -> bytes:
        """A regular file of at most `limit` bytes."""

        def counts(status: os.stat_result) -> None:
            self._bytes += status.st_size
            if self._bytes > limits.PROJECT and status.st_size <= limit:
                said = f"is the file with which the project has more than {limits.PROJECT} bytes"
                raise ConfigurationError(said, where=name, hint=_HINT)

        return files.read_inside(self.root, name, limit, check=counts)

    def text(self, name: str, limit: int) -> str:
        """The same, if it is UTF-8."""
        try:
            return self.read(name, limit).decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError("is not UTF-8 text", where=name) from error

    def entries(self, name: str) -> tuple[Found, ...]:
        """The entries of a folder, by name; none when it does not exist. Raises ConfigurationError beyond
        limits.PROJECT_FILES."""
        if name in self._listed:
            return self._listed[name]
        found = self._listed[name] = files.entries_inside(self.root, name)
        self._files += len(found)
        if self._files > limits.PROJECT_FILES:
            said = f"is the folder with which the project has more than {limits.PROJECT_FILES} files"
            raise ConfigurationError(said, where=name, hint=_HINT)
        return found
