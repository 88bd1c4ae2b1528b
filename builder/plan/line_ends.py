"""Find text files with the line ends of Windows, which a checkout there gives to all files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from builder.model.edits import Edit, WriteFile
from builder.model.plan import Note

_SHOWN = 10


def line_ends(edits: Iterable[Edit]) -> Iterator[Note]:
    """One note about all such files that are whole. Of a template Jinja makes LF, unless what is filled in has CR LF.
    No script is among them: where it is read it is refused."""
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
