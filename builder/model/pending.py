"""The secrets that an image lacks, and the place of each on the disk.

The manifest has them, so that secrets can be written to the disk of a downloaded image without its profiles. Such a
manifest may come from a stranger: it may ask for secrets only at places where this project puts some.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from builder import limits
from builder.model.edits import SECRET_MODE, PatchText, WriteSecret
from builder.model.image_path import ImagePath
from builder.model.k3s_ca import PLACED
from builder.model.outside import FatName, Mode, Owner, Words
from builder.model.patches import Record, SecretRef
from builder.model.values import of_form

_FILES = ("/etc/rancher/", "/etc/pimu/", "/var/lib/rancher/", "/var/lib/pimu/")
_SEEDS = ("/usr/share/pimu/", "/var/lib/pimu/")
_PUBLIC = 0o644
"""The mode of a certificate of a cluster's authorities. Everybody may read it."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _below(folders: tuple[str, ...]) -> AfterValidator:
    def check(path: str) -> str:
        if not path.startswith(folders):
            raise ValueError("is no place where a secret belongs")
        return path

    return AfterValidator(check)


def _is_slot(secret: SecretRef) -> SecretRef:
    texts = (secret.reference, secret.purpose, secret.ca)
    if not secret.reference or any(len(text) > limits.SLOT or not text.isprintable() for text in texts):
        raise ValueError(f"names a secret by no printable text of at most {limits.SLOT} characters")
    if secret.kind == "k3s-ca" and secret.purpose not in PLACED:
        raise ValueError("asks for no part of a cluster's certificate authorities")
    return secret


Slot = Annotated[SecretRef, AfterValidator(_is_slot)]
"""A secret that the user gives. The reference in a manifest is only a name for it, and is never looked up."""
RecordField = Annotated[str, of_form(r"[A-Za-z0-9._-]{0,64}", "is no field of shadow(5)")]


class _Asked(_Value):
    """A pending secret. `feature` is the feature that asked for it, `origin` is the project's file that set the value,
    `target` names its place on the disk."""

    feature: Words
    origin: Words


class PendingFile(_Asked):
    """A file of the root volume. Its content is the secret and a newline."""

    place: Literal["file"] = "file"
    path: Annotated[ImagePath, _below(_FILES)]
    mode: Mode
    uid: Owner
    gid: Owner
    secret: Slot

    @model_validator(mode="after")
    def _is_for_its_owner(self) -> Self:
        is_public = self.secret.kind == "k3s-ca" and self.secret.purpose.endswith(".crt")
        if self.mode & ~(_PUBLIC if is_public else SECRET_MODE):
            raise ValueError(f"has the mode {self.mode:04o}, which opens the secret to others")
        return self

    @property
    def target(self) -> str:
        return self.path

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
    """One line of a colon-separated database on the root volume. It replaces the line with the same first field."""

    place: Literal["record"] = "record"
    path: Annotated[str, of_form("/etc/shadow", "is no place where a password belongs")]
    fields: Annotated[tuple[RecordField | Slot, ...], Field(min_length=9, max_length=9)]

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        """shadow(5): the second field is the password, and no other one is a secret."""
        secrets = [number for number, field in enumerate(self.fields) if isinstance(field, SecretRef)]
        if secrets != [1] or not self.fields[0]:
            raise ValueError("is no line of shadow(5) with a secret as its password")
        return self

    @property
    def target(self) -> str:
        return f"{self.path}:{self.fields[0]}"

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
    """A file of the guest's seed. Its content is the secret and a newline. `path` is the seed image on the root
    volume."""

    place: Literal["seed"] = "seed"
    path: Annotated[ImagePath, _below(_SEEDS)]
    name: FatName
    secret: Slot

    @property
    def target(self) -> str:
        return f"{self.path}:{self.name}"

    def secrets(self) -> Iterable[SecretRef]:
        return [self.secret]


Pending = Annotated[PendingFile | PendingRecord | PendingSeed, Field(discriminator="place")]
