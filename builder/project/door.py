"""Read a project's own files. The number of files and bytes is limited, and no symlink is followed."""

from __future__ import annotations

import os
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError
from builder.host import files
from builder.host.files import Found

_HINT = "keep only the project's own files in it"


class Door:
    """Reads files by names relative to `root`. `root` itself may be a symlink. All methods raise ConfigurationError,
    with the name, also when the project as a whole exceeds limits.PROJECT or limits.PROJECT_FILES."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bytes = self._files = 0
        self._listed: dict[str, tuple[Found, ...]] = {}

    def read(self, name: str, limit: int) -> bytes:
        """The content of a regular file of at most `limit` bytes."""

        def counts(status: os.stat_result) -> None:
            self._bytes += status.st_size
            if self._bytes > limits.PROJECT and status.st_size <= limit:
                said = f"is the file with which the project has more than {limits.PROJECT} bytes"
                raise ConfigurationError(said, where=name, hint=_HINT)

        return files.read_inside(self.root, name, limit, check=counts)

    def text(self, name: str, limit: int) -> str:
        """The content as text. Raises ConfigurationError too when it is not UTF-8."""
        try:
            return self.read(name, limit).decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError("is not UTF-8 text", where=name) from error

    def entries(self, name: str) -> tuple[Found, ...]:
        """The entries of a folder, sorted by name; empty if it does not exist."""
        if name in self._listed:
            return self._listed[name]
        found = self._listed[name] = files.entries_inside(self.root, name)
        self._files += len(found)
        if self._files > limits.PROJECT_FILES:
            said = f"is the folder with which the project has more than {limits.PROJECT_FILES} files"
            raise ConfigurationError(said, where=name, hint=_HINT)
        return found
