"""Files of overlays/ that a base or a guest gets when it is made. They are the same for every node."""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import ConfigurationError
from builder.features.context import Context
from builder.model.edits import Edit


def own_files(context: Context, overlay: str, **variables: object) -> Iterator[Edit]:
    """The files of overlays/OVERLAY as edits of the context's feature. Most bases have no such folder. Raises
    ConfigurationError for a template when there are no `variables`."""
    for file in context.overlays.get(overlay, ()):
        if file.is_template and not variables:
            raise ConfigurationError(
                f"is a template, and a {context.feature} is shared by all nodes",
                where=file.origin,
                hint="write it out, or put it into overlays/roles/",
            )
        yield context.overlay_file(file, scope="golden", origin=file.origin, **variables)
