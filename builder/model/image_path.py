"""Paths of files in an image. They come from a profile or from a stranger's manifest."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated

from pydantic import AfterValidator

from builder import limits

_MERGED = re.compile(r"^/(bin|sbin|lib(?:32|64|x32)?)/")
"""Folders of / that are links into /usr (Debian Policy, section 10.1)."""


def fault(path: str) -> str:
    """The reason why `path` is no absolute path of a file in an image, to follow the path in an error; "" if it is one.

    `.`, `..`, doubled slashes and the root itself are refused: two spellings of one path would count as two files.
    """
    if not path.startswith("/") or path.startswith("//") or path == "/" or posixpath.normpath(path) != path:
        return "is not the absolute path of a file in the image, such as /etc/foo/key.pem"
    if not path.isprintable():
        return "holds characters that cannot be printed"
    if len(path) > limits.PATH:
        return f"has more than {limits.PATH} characters"
    if any(len(part.encode()) > limits.FILE_NAME for part in path.split("/")):
        return f"has a part of more than {limits.FILE_NAME} bytes"
    return ""


def _check(path: str) -> str:
    if reason := fault(path):
        raise ValueError(reason)
    return path


ImagePath = Annotated[str, AfterValidator(_check)]
"""An absolute path on a volume of the image. It is never used as a path of the host."""


def usr_merged(path: str) -> str:
    """An absolute path on a system with merged /usr: dpkg lists `/lib/x`, and the file is `/usr/lib/x`."""
    return _MERGED.sub(r"/usr/\1/", path)
