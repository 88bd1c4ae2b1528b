"""The user's own files for the role, from overlays/roles/ROLE. A template may use values that differ between nodes."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit


def edits(context: Context) -> Iterator[Edit]:
    for file in context.overlays.get(f"roles/{context.settings.role}", ()):
        yield context.overlay_file(file, scope="node" if file.is_template else "golden", origin=file.origin)


FEATURE = Feature(name="role", order=220, package=__name__, edits=edits)
