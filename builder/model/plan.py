"""Plan: all settings and edits for one node, from profiles, overlays and cloud-init. No network was needed to make
it."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.edits import Edit
from builder.model.identities import Identities
from builder.model.identity import Identity, derived_uuid
from builder.model.patches import Resolve, SecretRef
from builder.model.pending import Pending
from builder.model.settings import Base, Guest, NodeSettings


@dataclass(frozen=True, slots=True)
class Layout:
    """An MBR disk with two primary partitions. Offsets and sizes are in bytes. The filesystem ids are those of the
    golden image."""

    boot_start: int
    boot_size: int
    boot_label: str
    boot_volume_id: int
    sectors_per_cluster: int
    root_start: int
    root_label: str
    root_margin: int
    root_uuid: str
    root_hash_seed: str
    root_features: str


@dataclass(frozen=True, slots=True)
class SeedFile:
    """One file of the guest's NoCloud `cidata` disk. A file with a `secret` has no content until the disk is made."""

    name: str
    content: bytes
    origin: str
    secret: SecretRef | None = None

    def filled(self, secrets: Resolve) -> bytes:
        return self.content if self.secret is None else f"{secrets(self.secret)}\n".encode()


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """The guest's disk. `size` is the virtual size in bytes. All nodes share the disk, so its ids follow from the
    guest's name.

    `has_kernel`: the build also makes a kernel and an initrd, which QEMU loads. `installer` writes the files for the
    live system on the guest's ISO: scripts, and answers to the installer's questions. The answers include `root_keys`.
    """

    name: str
    size: int
    has_kernel: bool
    edits: tuple[Edit, ...]
    installer: tuple[Edit, ...] = ()
    root_keys: tuple[str, ...] = ()

    def derived(self, purpose: str) -> str:
        return str(derived_uuid("guest", self.name, purpose))


@dataclass(frozen=True, slots=True)
class Note:
    """A decision of the plan that the user should know, with its reason."""

    feature: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`base_edits` are applied before the base's packages are configured, because they also shape the base's initrd.

    `identities` is for the packages' layers: an image gets its files if a package has made an identity. `pending` are
    the secrets that the image will lack.
    """

    settings: NodeSettings
    base: Base
    guest: Guest | None
    guest_disk: GuestDisk | None
    identity: Identity
    layout: Layout
    base_edits: tuple[Edit, ...]
    identities: Identities
    packages: tuple[str, ...]
    packages_origin: str
    edits: tuple[Edit, ...]
    seed: tuple[SeedFile, ...]
    notes: tuple[Note, ...]
    pending: tuple[Pending, ...] = ()

    def golden_edits(self) -> tuple[Edit, ...]:
        return (*self.base_edits, *(edit for edit in self.edits if edit.scope == "golden"))

    def node_edits(self) -> tuple[Edit, ...]:
        return tuple(edit for edit in self.edits if edit.scope == "node")
