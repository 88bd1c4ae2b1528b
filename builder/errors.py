"""All expected failures, each with its exit code in README's table.

An error names the fault (`message`), its place (`where`: a file:line, a path or a package), and the next step for the
user (`hint`).
"""

from __future__ import annotations

from builder.text import one_line


class PimuError(Exception):
    """The base class of all expected failures. `exit_code` is the process's exit status."""

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
    """A step failed, and no class below fits: a tool has failed, for example."""


class DamagedError(BuildError):
    """A file or folder in the cache has changed since it was fetched or made. `path` must be made or fetched again."""

    def __init__(self, path: str) -> None:
        super().__init__("is damaged", where=path, hint="`pimu-build cache verify` looks for more of this")
        self.path = path


class UsageError(PimuError):
    exit_code = 2


class ConfigurationError(PimuError):
    """The user's file in profiles/, overlays/ or cloud-init/, or a word of the command line, cannot be used."""

    exit_code = 3


class DiskFullError(ConfigurationError):
    """The disk of a folder that the user has chosen is full."""


class DownloadError(PimuError):
    """A file could not be fetched, or does not match its pin or signature."""

    exit_code = 4


class MissingToolError(PimuError):
    exit_code = 5


class BusyError(PimuError):
    exit_code = 6


class FlashRefusedError(PimuError):
    exit_code = 7


class VerifyMismatchError(PimuError):
    exit_code = 8
