"""Files that packages make and that no two nodes may share: the choices in profiles, and the scripts that remake
them."""

from __future__ import annotations

from builder.features.context import Context
from builder.features.feature import Feature
from builder.features.identities.settings import IdentitiesKeys
from builder.model.edits import Symlink, WriteFile
from builder.model.identities import Identities


def identities(context: Context) -> Identities:
    """The choices and files for the bake. Only the bake finds out which of these files a package makes."""
    edits = list(context.overlay("identities", key="identities"))
    return Identities(
        chosen=context.keys(IdentitiesKeys).identities,
        files={edit.path: (edit.content.decode(), edit.mode) for edit in edits if isinstance(edit, WriteFile)},
        links={edit.path: edit.target for edit in edits if isinstance(edit, Symlink)},
    )


FEATURE = Feature(name="identities", order=240, package=__name__, settings=IdentitiesKeys)
