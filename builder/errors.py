"""Every failure that a user can meet, each with the exit code of the table in README.

An error says what is wrong and where (`where` is a file:line, a path or a package), then what to do next (`hint`).
"""

from __future__ import annotations

from builder.text import one_line


class PimuError(Exception):
    """Base of all expected failures. `exit_code` is the process's exit status."""

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{one_line(self.where)}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.hint}" if self.hint else head


class BuildError(PimuError):
    """A step failed for a reason that is none of those below (a tool's failure, a full disk)."""


class DamagedError(BuildError):
    """Something in the cache has changed since it came or was made; `path` is to be made or fetched again."""

    def __init__(self, path: str) -> None:
        super().__init__("is damaged", where=path, hint="`pimu-build cache verify` looks for more of this")
        self.path = path


class UsageError(PimuError):
    exit_code = 2


class ConfigurationError(PimuError):
    """A file of the user's in profiles/, overlays/ or cloud-init/, or a word of the command line, cannot be used."""

    exit_code = 3


class DiskFullError(ConfigurationError):
    """There is no room where the user wants files to be."""


class DownloadError(PimuError):
    """Something could not be fetched, or does not match its pin or signature."""

    exit_code = 4


class MissingToolError(PimuError):
    exit_code = 5


class BusyError(PimuError):
    exit_code = 6


class FlashRefusedError(PimuError):
    exit_code = 7


class VerifyMismatchError(PimuError):
    exit_code = 8
