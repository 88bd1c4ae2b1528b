"""Find text files with the line ends of Windows. A checkout on Windows may give them to all files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from builder.model.edits import Edit, WriteFile
from builder.model.plan import Note

_SHOWN = 10


def line_ends(edits: Iterable[Edit]) -> Iterator[Note]:
    """One note about all whole files with CR LF. Jinja makes LF of a template's line ends, but a filled-in value may
    have CR LF. A script with CR LF is refused earlier, when it is read."""
    found = [f"{edit.path} ({edit.origin})" for edit in edits if isinstance(edit, WriteFile) and _is_of_windows(edit)]
    if found:
        rest = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield Note(
            "overlays",
            f"CR LF line ends are in {', '.join(found[:_SHOWN])}{rest}: many programs take the CR for a part of the "
            "last word. A git for Windows may have made them: git config core.autocrlf false, then check the files out "
            "again",
        )


def _is_of_windows(edit: WriteFile) -> bool:
    if b"\r\n" not in edit.content or b"\0" in edit.content:
        return False
    try:
        edit.content.decode()
    except UnicodeDecodeError:
        return False
    return True
