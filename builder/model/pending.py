"""What an image without secrets lacks: where each secret goes, for whoever puts it onto the disk.

It is all in the manifest, so that the disk of a downloaded image can be filled where no profiles are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from builder.model.edits import PatchText, WriteSecret
from builder.model.patches import Record, SecretKind, SecretRef


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PendingSecret(_Value):
    """A SecretRef, by value."""

    reference: str
    kind: SecretKind
    purpose: str = ""
    ca: str = ""

    @classmethod
    def of(cls, secret: SecretRef) -> Self:
        return cls(reference=secret.reference, kind=secret.kind, purpose=secret.purpose, ca=secret.ca)

    def ref(self) -> SecretRef:
        return SecretRef(self.reference, self.kind, self.purpose, self.ca)


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
    secret: PendingSecret

    def edit(self) -> WriteSecret:
        return WriteSecret(
            volume="root",
            path=self.path,
            scope="node",
            feature=self.feature,
            origin=self.origin,
            secret=self.secret.ref(),
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
        )

    def secrets(self) -> Iterable[SecretRef]:
        return [self.secret.ref()]


class PendingRecord(_Asked):
    """One line of a colon-separated database of the root volume, by its first field."""

    place: Literal["record"] = "record"
    path: str
    fields: tuple[str | PendingSecret, ...]

    def edit(self) -> PatchText:
        fields = (field.ref() if isinstance(field, PendingSecret) else field for field in self.fields)
        return PatchText(
            volume="root",
            path=self.path,
            scope="node",
            feature=self.feature,
            origin=self.origin,
            patch=Record(tuple(fields)),
        )

    def secrets(self) -> Iterable[SecretRef]:
        return [field.ref() for field in self.fields if isinstance(field, PendingSecret)]


class PendingSeed(_Asked):
    """A file of the guest's seed that is the secret and a newline. `path` is the seed's, on the root volume."""

    place: Literal["seed"] = "seed"
    path: str
    name: str
    secret: PendingSecret

    def secrets(self) -> Iterable[SecretRef]:
        return [self.secret.ref()]


Pending = Annotated[PendingFile | PendingRecord | PendingSeed, Field(discriminator="place")]
