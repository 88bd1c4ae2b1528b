"""All kinds of edits of an image's two filesystems.

An edit is data. `builder.fs.tree` applies it to a tree in memory, `builder.image.stamp` applies it to an unmounted
image, and `builder.verify` checks its result in the finished image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from builder.model.patches import Patch, SecretRef

Volume = Literal["boot", "root"]
Scope = Literal["golden", "node"]
Blob = Literal["guest-disk", "guest-kernel", "guest-initrd", "guest-seed", "guest-airgap", "k3s", "k3s-images"]

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644
SECRET_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """`path` is absolute on its volume (`/config.txt` on boot, `/etc/hostname` on root).

    All nodes of a role share the edits with the `scope` golden; these must hold no secret. Edits with the `scope` node
    are stamped into each node's image. `origin` is the profile or overlay file, with a line if known, that set the
    value. `feature` is the name of the feature that made the edit.
    """

    volume: Volume
    path: str
    scope: Scope
    feature: str
    origin: str

    @property
    def kind(self) -> str:
        return type(self).__name__

    def describe(self) -> str:
        return f"{self.kind} {self.volume}:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile(Edit):
    content: bytes
    mode: int = FILE_MODE
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        return f"write {self.volume}:{self.path} {self.mode:04o} {self.uid}:{self.gid} {len(self.content)} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSecret(Edit):
    """A file that holds a secret and a newline. The secret is resolved when a node is stamped."""

    secret: SecretRef
    mode: int = SECRET_MODE
    uid: int = 0
    gid: int = 0

    def __post_init__(self) -> None:
        if self.scope != "node":
            raise ValueError(f"{self.path}: a golden image may hold no secret")

    def describe(self) -> str:
        return f"write {self.volume}:{self.path} {self.mode:04o} {self.uid}:{self.gid} <{self.secret.describe()}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBlob(Edit):
    """Put a file that the build makes, such as the guest's disk, at `path`. `blob` names the file."""

    blob: Blob
    mode: int = FILE_MODE
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        return f"place {self.blob} at {self.volume}:{self.path} {self.mode:04o} {self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDir(Edit):
    mode: int = DIRECTORY_MODE
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        return f"mkdir {self.volume}:{self.path} {self.mode:04o} {self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink(Edit):
    target: str

    def describe(self) -> str:
        return f"symlink {self.volume}:{self.path} -> {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMode(Edit):
    mode: int
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        return f"chmod {self.volume}:{self.path} {self.mode:04o} {self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchText(Edit):
    """Change a text file of the base or of an earlier edit. Mode and owner stay the same."""

    patch: Patch

    def describe(self) -> str:
        return f"patch {self.volume}:{self.path}: {self.patch.describe()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove(Edit):
    """Remove a file or symlink. An absent one is not an error."""

    def describe(self) -> str:
        return f"remove {self.volume}:{self.path}"
