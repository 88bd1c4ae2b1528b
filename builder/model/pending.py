"""What an image without secrets lacks: where each secret goes, for whoever puts it onto the disk.

It is all in the manifest, so that the disk of a downloaded image can be filled where no profiles are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.model.edits import PatchText, WriteSecret
from builder.model.patches import Record, SecretRef


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Asked(_Value):
    """`feature` asked for it, `origin` is the file of the project that set the value."""

    feature: str
    origin: str


class PendingFile(_Asked):
    """A file of the root volume that is the secret and a newline."""

    place: Literal["file"] = "file"
    path: str
    mode: int
    uid: int
    gid: int
    secret: SecretRef

    def edit(self) -> WriteSecret:
        return WriteSecret(
            volume="root",
            path=self.path,
            scope="node",
            feature=self.feature,
            origin=self.origin,
            secret=self.secret,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
        )

    def secrets(self) -> Iterable[SecretRef]:
        return [self.secret]


class PendingRecord(_Asked):
    """One line of a colon-separated database of the root volume, by its first field."""

    place: Literal["record"] = "record"
    path: str
    fields: tuple[str | SecretRef, ...]

    def edit(self) -> PatchText:
        return PatchText(
            volume="root",
            path=self.path,
            scope="node",
            feature=self.feature,
            origin=self.origin,
            patch=Record(self.fields),
        )

    def secrets(self) -> Iterable[SecretRef]:
        return [field for field in self.fields if isinstance(field, SecretRef)]


class PendingSeed(_Asked):
    """A file of the guest's seed that is the secret and a newline. `path` is the seed's, on the root volume."""

    place: Literal["seed"] = "seed"
    path: str
    name: str
    secret: SecretRef

    def secrets(self) -> Iterable[SecretRef]:
        return [self.secret]


Pending = Annotated[PendingFile | PendingRecord | PendingSeed, Field(discriminator="place")]
