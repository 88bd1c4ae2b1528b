"""Files that packages make and that no two nodes may share: choices of profiles, and scripts that remake them."""

from __future__ import annotations

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.identities.settings import IdentitiesKeys
from builder.model.edits import Symlink, WriteFile
from builder.model.identities import Identities


def identities(context: Context) -> Identities:
    """For the bake: only there it turns out which of them a package and its dependencies make."""
    edits = list(context.overlay("identities", key="identities"))
    return Identities(
        chosen=context.keys(IdentitiesKeys).identities,
        files={edit.path: (edit.content.decode(), edit.mode) for edit in edits if isinstance(edit, WriteFile)},
        links={edit.path: edit.target for edit in edits if isinstance(edit, Symlink)},
    )


FEATURE = Feature(name="identities", order=240, package=__name__, settings=IdentitiesKeys)
