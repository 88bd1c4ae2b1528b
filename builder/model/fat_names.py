"""Names that a FAT volume can hold (Microsoft's fatgen103, "Long Directory Entries"; mtools and Linux agree)."""

from __future__ import annotations

import re

from builder import limits

_NOT_ON_FAT = frozenset('"*:<>?\\|')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def fat_fault(path: str) -> str:
    """The reason why FAT cannot hold `path`, to follow the path in an error; empty if it can."""
    parts = path.strip("/").split("/")
    if _NOT_ON_FAT & set(path) or any(part.endswith((".", " ")) or part.startswith(" ") for part in parts):
        return "has a name that FAT cannot hold"
    if any(len(part.encode("utf-16-le", "surrogatepass")) > 2 * limits.FILE_NAME for part in parts):
        return f"has a name of more than {limits.FILE_NAME} letters, which FAT cannot hold"
    if any(_RESERVED.fullmatch(part) for part in parts):
        return "has a name that is a device to Windows, which reads the boot volume too"
    return ""
